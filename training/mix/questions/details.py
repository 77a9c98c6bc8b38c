"""What is worn, held and played, who does what and where: from captions that agree."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from training.mix.picture import Picture
from training.mix.questions.either import yes_and_no
from training.mix.questions.wording import Question, asked, word
from training.mix.questions.words import is_plural, normal_text, with_article
from training.mix.tables import document

_TABLE = document("words")
_WHO = "|".join(_TABLE["subjects"])
_PEOPLE = "|".join(who for who in _TABLE["subjects"] if who not in {"dog", "dogs", "puppy", "horse",
                                                                    "bird", "cat"})  # fmt: skip
_SOME = "(?:an? |the |his |her |their |its |some )?"
_LIKE = "(?:[a-z]+ ){0,2}?"  # a colour, a size
_NOTICEABLE = frozenset(_TABLE["noticeable"])
_POSES = {form: pose for pose, forms in _TABLE["poses"].items() for form in forms}
_FORMS = _TABLE["poses"] | _TABLE["sports"]
_SPORTS = {form: sport for sport, forms in _TABLE["sports"].items() for form in forms}


def _one_of(words: Iterable[str]) -> str:
    """Make a pattern of the words, the longest first, spelled as `normal_text` does."""
    return "|".join(sorted((normal_text(w).strip() for w in words), key=len, reverse=True))


_WORN = re.compile(
    rf" ({_PEOPLE}) {_LIKE}(?:wearing|wears|dressed in|in) {_SOME}{_LIKE}"
    rf"({_one_of(_TABLE['garments'])}) "
)
_HELD = re.compile(
    rf" ({_WHO}) {_LIKE}(?:is |are )?(?:holding|holds|carrying|carries|throwing|throws) {_SOME}"
    rf"{_LIKE}({_one_of(_TABLE['held'])}) (?!of )"
)
_POSE = re.compile(rf" ({_WHO}) (?:[a-z]+ ){{0,4}}?({_one_of(_POSES)}) ")
_SPORT = re.compile(rf" ({_one_of(_SPORTS)}) ")
_GROUND = re.compile(
    rf" (?:in|on|through|across|into|along) (?:the )?({_one_of(_TABLE['grounds'])}) "
)

_OPEN = {
    "worn": ("What {be} the {who} wearing?", "What {be} the {who} wearing in this {image}?"),
    "held": ("What {be} the {who} holding?", "What {be} the {who} carrying?",
             "What does the {who} have?"),
    "sport": ("What sport is this?", "What sport is being played?", "Which sport is shown here?",
              "What sport is shown in the {image}?", "What game is being played?"),
    "ground": ("Where {be} the {who}?", "Where {be} the {who} in this {image}?"),
}  # fmt: skip
_EITHER = {
    "worn": ("{Be} the {who} wearing {a}?", "Does the {who} wear {a}?"),
    "sport": ("Is this {value}?", "Are they {playing}?", "Does the {image} show {value}?"),
    "pose": ("{Be} the {who} {value}?", "{Be} the {who} in the {image} {value}?"),
    "ground": ("{Be} the {who} {where}?",),
}
_ALONE = frozenset({"pose"})  # what somebody does is asked for elsewhere
_YES_NO_SHARE = 0.5


@dataclass(frozen=True)
class Detail:
    """One thing that captions say of a picture: `kind` worn, held, sport, pose or ground."""

    picture: Picture
    kind: str
    who: str
    value: str


def details(picture: Picture) -> list[Detail]:
    """List what two captions say, of what is worn or held one, and no caption contradicts."""
    texts = [normal_text(caption) for caption in picture.captions]
    agreed = [
        *_of_somebody(picture, "worn", texts, _WORN, {}, agreed=1),
        *_of_somebody(picture, "held", texts, _HELD, {}, agreed=1),
        *_of_somebody(picture, "pose", texts, _POSE, _POSES, agreed=2),
    ]
    sports = {_SPORTS[m] for text in texts for m in _SPORT.findall(text)}
    if len(sports) == 1 and sum(bool(_SPORT.search(text)) for text in texts) >= 2:
        agreed.append(Detail(picture, "sport", "", sports.pop()))
    grounds = Counter(m for text in texts for m in set(_GROUND.findall(text)))
    subjects = Counter(m for text in texts for m in set(re.findall(rf" ({_WHO}) ", text)))
    if len(grounds) == 1 and len(subjects) == 1 and max(grounds.values()) >= 2:
        agreed.append(Detail(picture, "ground", next(iter(subjects)), next(iter(grounds))))
    return agreed


def _of_somebody(
    picture: Picture,
    kind: str,
    texts: list[str],
    pattern: re.Pattern[str],
    names: Mapping[str, str],
    agreed: int,
) -> Iterator[Detail]:
    """Yield somebody's details, where the captions speak of no second one who could have others."""
    values_of: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for who, value in set(pattern.findall(text)):
            values_of[who][names.get(value, value)] += 1
    for who, values in sorted(values_of.items()):
        several = any(re.search(rf" (?:other|another|two|three|both) [^.]*{who}", t) for t in texts)
        if len(values) == 1 and not several and max(values.values()) >= agreed:
            yield Detail(picture, kind, who, next(iter(values)))


def detail_questions(details: Iterable[Detail], rng: random.Random) -> Iterator[Question]:
    """Ask a question for each detail of all pictures: an open one, or whether it is so.

    Of a kind, every value is as often right as wrong: wording and value give nothing away.
    """
    by_kind: defaultdict[str, list[Detail]] = defaultdict(list)
    for detail in details:
        by_kind[detail.kind].append(detail)
    for kind, these in by_kind.items():
        either: list[tuple[Detail, str, bool]] = []
        if kind in _EITHER:
            fit = [d for d in these if kind != "worn" or d.value in _NOTICEABLE]
            share = 1.0 if kind in _ALONE else _YES_NO_SHARE
            chosen = rng.sample(fit, k=round(share * len(fit)))
            either = yes_and_no(chosen, lambda detail: detail.value, _is_not, rng)
        yield from (_either(detail, rng, value, right) for detail, value, right in either)
        done = {id(detail) for detail, _, _ in either}
        if kind not in _ALONE:
            yield from (_open(detail, rng) for detail in these if id(detail) not in done)


def _is_not(detail: Detail, value: str) -> bool:
    """Return whether nothing in the captions speaks of the value."""
    texts = map(normal_text, detail.picture.captions)
    forms = _FORMS.get(value, (value,))
    return detail.value != value and not any(
        f" {form} " in text for text in texts for form in forms
    )


def _open(detail: Detail, rng: random.Random) -> Question:
    be = "are" if is_plural(detail.who) else "is"
    text = word(rng, _OPEN[detail.kind], who=detail.who, be=be)
    if be == "are":
        text = text.replace("What does the", "What do the")
    answers = (detail.value, with_article(detail.value))
    if detail.kind == "ground":
        where = _where(detail.value)
        answers = (where, detail.value)
    subject = f"the {detail.who} {be}"
    sentence = {
        "worn": f"{subject} wearing {with_article(detail.value)}",
        "held": f"{subject} holding {with_article(detail.value)}",
        "sport": f"the sport is {detail.value}",
        "ground": f"{subject} {answers[0]}",
    }[detail.kind]
    return asked(detail.picture, rng, text, answers, "details", detail.value, sentence)


def _either(detail: Detail, rng: random.Random, value: str, right: bool) -> Question:
    be = "Are" if is_plural(detail.who) else "Is"
    text = word(
        rng, _EITHER[detail.kind], who=detail.who, Be=be, value=value, a=with_article(value),
        where=_where(value), playing=value if value.endswith("ing") else f"playing {value}",
    )  # fmt: skip
    if be == "Are":
        text = text.replace("Does the", "Do the")
    subject = f"the {detail.who} {be.lower()}{'' if right else ' not'}"
    sentence = {
        "worn": f"{subject} wearing {with_article(value)}",
        "sport": f"it is{'' if right else ' not'} {value}",
        "pose": f"{subject} {value}",
        "ground": f"{subject} {_where(value)}",
    }[detail.kind]
    answer = "yes" if right else "no"
    return asked(
        detail.picture, rng, text, (answer,), "details", detail.value, f"{answer}, {sentence}"
    )


def _where(ground: str) -> str:
    before = _TABLE["grounds"].get(ground, "in")
    return f"{before} {'' if ground in {'mud', 'sand', 'ice'} else 'the '}{ground}"
