"""What is the man doing: the verb phrase of captions that tell of one subject."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator

from training.mix.picture import Picture
from training.mix.questions.wording import Question, asked, word
from training.mix.questions.words import is_plural
from training.mix.tables import document

_TABLE = document("words")
_DOES = {form: doing for verb, doing in _TABLE["verbs"].items() for form in (verb, f"{verb}s")}
_CLAUSE = re.compile(
    rf"^(?:an?|the|one|two|three|four|some) (?:[a-z'-]+ ){{0,3}}?({'|'.join(_TABLE['subjects'])})"
    rf"(?: (?:in|wearing|with|dressed in) (?:an? |the )?[a-z'-]+(?: [a-z'-]+){{0,2}}?)?"
    rf" (?:(?:is |are )?(?P<doing>(?!{'|'.join(_TABLE['no_verbs'])})[a-z]{{2,}}ing)"
    rf"|(?P<does>{'|'.join(_DOES)}))\b(?P<rest>.*)$"
)
# where the phrase ends; `playing with a ball` keeps its preposition when it is short enough
_END = re.compile(
    r"\s(?:while|whilst|as|and|that|which|who|with his|with her|with its|wearing|in front|near|"
    r"next to|beside|behind|during|for|by|at|to|is|are|his tongue|their)\b|[,.;]"
)
_LONGEST = 5
_PREPOSITIONS = frozenset(_TABLE["prepositions"])
_UNFINISHED = _PREPOSITIONS | frozenset(_TABLE["unfinished"])
_NEEDS_MORE = frozenset(_TABLE["need_more"])
_WORDINGS = (
    "What {be} the {who} doing?",
    "What {be} the {who} doing?",
    "What {be} the {who} doing in the {image}?",
    "What {be} the {who} in this {image} doing?",
    "What activity {be} the {who} doing?",
)


def action_questions(picture: Picture, rng: random.Random) -> Iterator[Question]:
    """Ask what the subjects of the captions do, in random order."""
    actions: dict[str, list[str]] = {}
    for caption in picture.captions:
        action = subject_and_action(caption)
        if action:
            actions.setdefault(action[0], []).append(action[1])
    subjects = sorted(actions)
    rng.shuffle(subjects)
    for who in subjects:
        if any(f"{who}s" == other or f"{other}s" == who for other in subjects):
            continue  # captions disagree about how many
        be = "are" if is_plural(who) else "is"
        verbs = Counter(action.split()[0] for action in actions[who])
        order = rng.sample(actions[who], k=len(actions[who]))
        # what most captions say comes first
        answers = tuple(dict.fromkeys(sorted(order, key=lambda a: -verbs[a.split()[0]])))
        text = word(rng, _WORDINGS, be=be, who=who)
        sentence = f"the {who} {be} {answers[0]}"
        yield asked(picture, rng, text, answers, "actions", who, sentence)


def subject_and_action(caption: str) -> tuple[str, str] | None:
    """Return the subject and what it does in at most five words; None if the caption is not simple.

    >>> subject_and_action("A brown dog is running through the tall grass .")
    ('dog', 'running through the tall grass')
    """
    match = _CLAUSE.match(re.sub(r"\s+", " ", caption.lower()).strip())
    if match is None:
        return None
    rest = _END.split(match["rest"], maxsplit=1)[0]
    words = [match["doing"] or _DOES[match["does"]], *rest.split()]
    if len(words) > _LONGEST:  # without the last preposition and what follows it
        cut = max(
            (i for i, w in enumerate(words[:_LONGEST]) if i and w in _PREPOSITIONS), default=0
        )
        words = words[:cut] if cut else words[:1]
    while len(words) > 1 and words[-1] in _UNFINISHED:
        words.pop()
    if len(words) == 1 and words[0] in _NEEDS_MORE:
        return None
    return match[1], " ".join(words)
