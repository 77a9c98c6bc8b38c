"""Is there a dog: as often yes as no for every object, and the no's are not easy.

Where an object is known to be there or not comes from boxes (absence means something for the
annotated classes alone), from captions (present if any names it, absent if none names it nor
anything that makes it likely; tables/objects.yaml), from the kind of room (tables/rooms.yaml), and
from labels of pictures with one object.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from training.mix.picture import Picture
from training.mix.questions.rooms import present_and_absent
from training.mix.questions.wording import Question, asked, word
from training.mix.questions.words import is_countable, is_plural, normal_text, plural, with_article
from training.mix.tables import document

CHECK = "Is there {a} in the image?"
CHECK_MANY = "Are there any {many} in the image?"
_ONE = (
    "Is there {a} in the {image}?",
    "Is there {a} in the {image}?",
    "Is there {a} in this {image}?",
    "Is there {a} here?",
    "Do you see {a} in the {image}?",
    "Can you see {a}?",
    "Does this {image} show {a}?",
    "Does the {image} contain {a}?",
)
_MANY = (
    "Are there any {many} in the {image}?",
    "Are there {many} in this {image}?",
    "Do you see any {many}?",
    "Can you see any {many} in the {image}?",
)
_MASS = (
    "Is there {a} in the {image}?",
    "Is there any {a} in the {image}?",
    "Do you see {a} in this {image}?",
    "Can you see any {a}?",
    "Does the {image} show {a}?",
)
_SMALLEST_SHARE = 0.001  # of the picture; below, a box is too small to ask for
_HARD_SHARE = 0.6


@dataclass(frozen=True)
class KnownObjects:
    """What is known of a picture: objects that are there, and objects that are not."""

    picture: Picture
    present: frozenset[str]
    absent: frozenset[str]


def known(picture: Picture) -> KnownObjects:
    """List objects present and absent, as boxes and captions tell. Labels: see `known_labels`."""
    present: set[str] = set()
    absent: set[str] = set()
    if picture.annotated:
        boxed = {box.name for box in picture.boxes}
        present |= {b.name for b in picture.boxes if b.area >= _SMALLEST_SHARE}
        absent |= picture.annotated - boxed
    elif picture.counted:
        present |= {name for name, _ in picture.counted}
        absent |= picture.kinds - present
    elif picture.captions:
        text = _Text("".join(normal_text(caption) for caption in picture.captions))
        for name, clues in _clues().items():
            if clues.words(text):
                present.add(name)
            elif not clues.doubtful(text) and (not clues.contrary or clues.contrary(text)):
                absent.add(name)
    else:
        present, absent = present_and_absent(picture)
    return KnownObjects(picture, frozenset(present), frozenset(absent))


def known_labels(pictures: Iterable[Picture], rng: random.Random) -> list[KnownObjects]:
    """List for pictures of one object what is asked of them: that, and half of its category."""
    labelled = [p for p in pictures if p.label is not None and p.label.category in _CLEAR]
    by_category: defaultdict[str, set[str]] = defaultdict(set)
    for picture in labelled:
        assert picture.label is not None
        by_category[picture.label.category].add(picture.label.everyday)
    every = sorted(set().union(*by_category.values()))
    labels = []
    for picture in labelled:
        label = picture.label
        assert label is not None
        same = sorted(by_category[label.category] - {label.everyday})
        others = {rng.choice(same)} if same else set()
        others |= {rng.choice(every)}
        others -= {label.everyday, label.name}
        if label.category == "vehicle":
            others -= _ALONG_A_ROAD
        labels.append(KnownObjects(picture, frozenset({label.everyday}), frozenset(others)))
    return labels


# one such thing rarely stands with another of its kind, and people name it so
_CLEAR = frozenset({"animal", "vehicle", "musical instrument", "food"})
_ALONG_A_ROAD = frozenset({"car", "truck", "bus", "van"})  # beside other vehicles


def presence_questions(
    pictures: Sequence[KnownObjects],
    rng: random.Random,
    each: int,
    per_picture: int,
    check: bool = False,
) -> Iterator[Question]:
    """Ask for every object up to `each` times for yes and as often for no, few times of a picture.

    `check` asks in one plain wording, for measuring.
    """
    times: Counter[int] = Counter()
    together = _together(pictures)
    with_it: defaultdict[str, list[int]] = defaultdict(list)
    without: defaultdict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(pictures):
        for name in item.present:
            with_it[name].append(index)
        for name in item.absent:
            without[name].append(index)
    # scarce objects first: they find pictures that are still free
    names = sorted(with_it, key=lambda n: (min(len(with_it[n]), len(without[n])), n))
    for name in names:
        yes = [i for i in with_it[name] if times[i] < per_picture]
        no = [i for i in without[name] if times[i] < per_picture]
        rng.shuffle(yes)
        rng.shuffle(no)
        likely = {
            i: max((together[name][other] for other in pictures[i].present), default=0.0)
            for i in no
        }
        hard = sorted(no, key=lambda i: -likely[i] * (0.5 + rng.random()))
        many = min(len(yes), len(no), each)
        chosen = list(islice(hard, round(many * _HARD_SHARE)))
        rest = set(chosen)
        chosen += list(islice((i for i in no if i not in rest), many - len(chosen)))
        for answer, indices in (("yes", yes[:many]), ("no", chosen)):
            for index in indices:
                times[index] += 1
                shown = pictures[index].picture
                if check:
                    yield Question(shown, _check(name), (answer,), "presence", name)
                    continue
                be = "are" if is_plural(name) else "is"
                some = with_article(name) if answer == "yes" else f"no {name}"
                sentence = f"{answer}, there {be} {some} in the picture"
                text = _text(name, rng)
                yield asked(shown, rng, text, (answer,), "presence", name, sentence)


def somebody_or_nobody(
    pictures: Sequence[Picture], rng: random.Random, each: int
) -> Iterator[Question]:
    """Ask whether there is a person: as often of pictures of one thing as of pictures of people.

    Without them a model that sees people in most photos sees them in every picture.
    """
    every = []
    for picture in pictures:
        category = picture.label.category if picture.label is not None else ""
        if category in _WITHOUT_PEOPLE:
            every.append(KnownObjects(picture, frozenset(), frozenset({"person"})))
        elif category == "person" or (picture.annotated and "person" in known(picture).present):
            every.append(KnownObjects(picture, frozenset({"person"}), frozenset()))
    yield from presence_questions(every, rng, each, per_picture=1)


# photos of such a thing seldom show who holds or wears it
_WITHOUT_PEOPLE = frozenset({"animal", "food", "fruit", "vegetable", "drink", "clothing", "tool"})


def _together(pictures: Sequence[KnownObjects]) -> defaultdict[str, defaultdict[str, float]]:
    """Compute for two objects the share of the second's pictures that show the first too."""
    alone: Counter[str] = Counter()
    both: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for item in pictures:
        for name in item.present:
            alone[name] += 1
            both[name].update(other for other in item.present if other != name)
    shares: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, counts in both.items():
        for other, count in counts.items():
            shares[name][other] = count / alone[other]
    return shares


_ALSO_CALLED = {
    "couch": ("couch", "sofa"),
    "tv": ("tv", "television"),
    "television": ("tv", "television"),
    "bicycle": ("bicycle", "bicycle", "bike"),
    "person": ("person", "person", "human"),
    "cell phone": ("cell phone", "cell phone", "mobile phone"),
    "sports ball": ("ball",),
    "potted plant": ("potted plant", "plant"),
    "airplane": ("airplane", "plane"),
    "motorcycle": ("motorcycle", "motorcycle", "motorbike"),
    "child": ("child", "kid"),
    "refrigerator": ("refrigerator", "fridge"),
    "hair drier": ("hair dryer",),
}


def _text(name: str, rng: random.Random) -> str:
    name = rng.choice(_ALSO_CALLED.get(name, (name,)))
    if is_plural(name):
        return word(rng, _MANY, many=name)
    if not is_countable(name):
        return word(rng, _MASS, a=name)
    if rng.random() < 0.3:
        return word(rng, _MANY, many=plural(name))
    return word(rng, _ONE, a=with_article(name))


def _check(name: str) -> str:
    if is_plural(name):
        return CHECK_MANY.format(many=name)
    return CHECK.format(a=with_article(name))


class _Text:
    """A normal text and its words."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = frozenset(text.split())


class _Words:
    """Words and phrases; called with a text, whether any is in it, singular or plural."""

    def __init__(self, words: Iterable[str]) -> None:
        forms = {form for w in words for form in (w, plural(w))}
        self.words = frozenset(form for form in forms if " " not in form)
        self.phrases = tuple(f" {form} " for form in sorted(forms) if " " in form)

    def __bool__(self) -> bool:
        return bool(self.words or self.phrases)

    def __call__(self, text: _Text) -> bool:
        if not self.words.isdisjoint(text.words):
            return True
        return any(phrase in text.text for phrase in self.phrases)


@dataclass(frozen=True)
class _Clues:
    words: _Words
    doubtful: _Words
    contrary: _Words


@cache
def _clues() -> dict[str, _Clues]:
    table = document("objects")

    def group(words: Sequence[str]) -> list[str]:
        return [
            one for w in words for one in (group(table["groups"][w[1:]]) if w[0] == "@" else [w])
        ]

    return {
        name: _Clues(*(_Words(group(clues.get(k, ()))) for k in ("words", "doubtful", "contrary")))
        for name, clues in table["objects"].items()
    }
