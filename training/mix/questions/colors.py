"""What color is the shirt: from captions in which a color stands before a noun."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from training.mix.picture import Picture
from training.mix.questions.either import yes_and_no
from training.mix.questions.wording import Question, asked, word
from training.mix.questions.words import is_plural, normal_text
from training.mix.tables import document

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
class ColoredThing:
    """A thing of one color in a picture."""

    picture: Picture
    noun: str
    color: str


def colored(picture: Picture) -> list[ColoredThing]:
    """List the things whose color captions name and no caption contradicts."""
    colors_of: defaultdict[str, Counter[str]] = defaultdict(Counter)
    text = " |".join(normal_text(caption) for caption in picture.captions)
    for first, second, noun in _FOUND.findall(text):
        color = " and ".join(sorted({COLORS[c] for c in (first, second) if c}))
        colors_of["shirt" if noun == "t shirt" else noun][color] += 1
    return [
        ColoredThing(picture, noun, next(iter(colors)))
        for noun, colors in sorted(colors_of.items())
        # several shirts in one picture may have several colors
        if len(colors) == 1
        and not re.search(rf" (?:other|another|both|two|three|four) [^|]*{noun}", text)
    ]


def color_questions(things: Iterable[ColoredThing], rng: random.Random) -> Iterator[Question]:
    """Ask what color the things of all pictures are, or now and then whether they have one.

    Whether a dog is black is asked about as many black dogs as others.
    """
    by_noun: defaultdict[str, list[ColoredThing]] = defaultdict(list)
    for thing in things:
        by_noun[thing.noun].append(thing)
    for these in by_noun.values():
        chosen = rng.sample(these, k=round(_YES_NO_SHARE * len(these)))
        either = yes_and_no(chosen, lambda thing: thing.color, _has_none_of, rng)
        for thing, color, right in either:
            text = word(rng, _SHOWS, noun=thing.noun, color=color)
            clause = f"yes, the {thing.noun} is" if right else f"no, the {thing.noun} is not"
            yield _question(thing, rng, text, "yes" if right else "no", f"{clause} {color}")
        done = {id(thing) for thing, _, _ in either}
        for thing in these:
            if id(thing) not in done:
                text, clause = word(rng, _WORDINGS, noun=thing.noun), f"the {thing.noun} is"
                yield _question(thing, rng, text, thing.color, f"{clause} {thing.color}")


def _has_none_of(thing: ColoredThing, color: str) -> bool:
    return not set(color.split()) & (set(thing.color.split()) - {"and"})


def _question(
    thing: ColoredThing, rng: random.Random, text: str, answer: str, sentence: str
) -> Question:
    if is_plural(thing.noun):
        sentence = sentence.replace(f"the {thing.noun} is", f"the {thing.noun} are")
        text = text.replace("Is the color", "Is the\0color").replace(
            "is the color", "is the\0color"
        )
        text = text.replace(" is the ", " are the ").replace("Is the ", "Are the ")
        text = text.replace("does the", "do the").replace("\0", " ")
    return asked(thing.picture, rng, text, (answer,), "colors", thing.noun, sentence)
