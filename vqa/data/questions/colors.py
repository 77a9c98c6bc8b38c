"""What color is the shirt: from captions in which a color stands before a noun."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vqa.data.picture import Picture
from vqa.data.questions.wording import Question, instruct, word
from vqa.data.questions.words import is_plural, normal_text
from vqa.data.tables import document

COLORS = {
    "red": "red", "blue": "blue", "green": "green", "yellow": "yellow", "orange": "orange",
    "purple": "purple", "pink": "pink", "black": "black", "white": "white", "brown": "brown",
    "tan": "tan", "gray": "gray", "grey": "gray", "golden": "golden", "beige": "beige",
    "blond": "blond", "blonde": "blond",
}  # fmt: skip
_NOUN = "|".join((*document("words")["color_nouns"], "t shirt"))
_COLOR = "|".join(COLORS)
_FOUND = re.compile(
    rf"(?<= )(?:light |dark |bright )?({_COLOR})(?: and (?:light |dark |bright )?({_COLOR}))? "
    rf"(?:long sleeved |short sleeved |long |short |small |tank |ski |life |furry |haired "
    rf"|striped |plaid |sleeveless |winter |wool |leather |tennis |rubber |plastic )?"
    rf"({_NOUN}) "
)
_WORDINGS = (
    "What color is the {noun}?",
    "What color is the {noun}?",
    "What color is the {noun} in the {image}?",
    "What is the color of the {noun}?",
    "What colour is the {noun}?",
    "Which color does the {noun} have?",
)
_SHOWS = ("Is the {noun} {color}?", "Is the color of the {noun} {color}?")
_YES_NO_SHARE = 0.3


@dataclass(frozen=True)
class Colored:
    """A thing of one color in a picture."""

    picture: Picture
    noun: str
    color: str


def colored(picture: Picture) -> list[Colored]:
    """Things whose color captions name and no caption contradicts."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    text = " |".join(normal_text(caption) for caption in picture.captions)
    for first, second, noun in _FOUND.findall(text):
        color = " and ".join(sorted({COLORS[c] for c in (first, second) if c}))
        found["shirt" if noun == "t shirt" else noun][color] += 1
    return [
        Colored(picture, noun, next(iter(colors)))
        for noun, colors in sorted(found.items())
        # several shirts in one picture may have several colors
        if len(colors) == 1
        and not re.search(rf" (?:other|another|both|two|three|four) [^|]*{noun}", text)
    ]


def color_questions(
    things: Iterable[Colored], rng: random.Random, usual: dict[str, Counter[str]]
) -> Iterator[Question]:
    """What color, or now and then whether it is a color: yes in half of the cases.

    `usual` counts the colors of each noun over all pictures (`usual_colors`): the wrong color is
    drawn from it, so that neither noun nor color gives the answer away.
    """
    for thing in things:
        others = {c: n for c, n in usual[thing.noun].items() if c not in thing.color}
        be = {"noun": thing.noun}
        if rng.random() < _YES_NO_SHARE and others:
            right = rng.random() < 0.5
            color = thing.color if right else rng.choices([*others], [*others.values()])[0]
            text, answer = word(rng, _SHOWS, color=color, **be), "yes" if right else "no"
        else:
            text, answer = word(rng, _WORDINGS, **be), thing.color
        if is_plural(thing.noun):
            text = text.replace("Is the color", "Is the\0color").replace(
                "is the color", "is the\0color"
            )
            text = text.replace(" is the ", " are the ").replace("Is the ", "Are the ")
            text = text.replace("does the", "do the").replace("\0", " ")
        yield Question(thing.picture, instruct(rng, text), (answer,), "colors", thing.noun)


def usual_colors(things: Iterable[Colored]) -> dict[str, Counter[str]]:
    """How often each noun has each color."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for thing in things:
        counts[thing.noun][thing.color] += 1
    return counts
