"""Many wordings of one question, and the instructions that ask for a short answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from training.mix.picture import Picture

PLACES_OF_A_PICTURE = ("image", "image", "picture", "picture", "photo")
_BRIEFLY = (
    "Answer the question using a single word or phrase.",
    "Answer the question using a single word or phrase.",
    "Answer with a word or a short phrase.",
    "Answer briefly.",
    "Give a short answer.",
)
_FULLY = (
    "Answer in a full sentence.",
    "Answer with a complete sentence.",
    "Please answer in a sentence.",
    "Reply with a full sentence.",
)
_SHARE_BRIEFLY = 0.35
_SHARE_FULLY = 0.1


@dataclass(frozen=True)
class Question:
    """A question about a picture with its accepted answers; the first is the one to learn."""

    picture: Picture
    text: str
    answers: tuple[str, ...]
    task: str
    about: str = ""  # the object, place or number that answers are balanced over


def word(rng: random.Random, wordings: Sequence[str], **fields: str) -> str:
    """Draw one of the wordings and fill its `{fields}` in; `{image}` is image, picture or photo."""
    return rng.choice(wordings).format(image=rng.choice(PLACES_OF_A_PICTURE), **fields)


def asked(
    picture: Picture,
    rng: random.Random,
    text: str,
    answers: tuple[str, ...],
    task: str,
    about: str = "",
    sentence: str = "",
) -> Question:
    """Make a question, now and then with an instruction to answer in a word or in a sentence.

    Without an instruction the answer is short. `sentence` is the answer as a sentence.
    """
    draw = rng.random()
    if draw < _SHARE_BRIEFLY:
        text = f"{text}{rng.choice((' ', chr(10)))}{rng.choice(_BRIEFLY)}"
    elif sentence and draw < _SHARE_BRIEFLY + _SHARE_FULLY:
        text = f"{text}{rng.choice((' ', chr(10)))}{rng.choice(_FULLY)}"
        answers = (f"{sentence[0].upper()}{sentence[1:]}.", *answers)
    return Question(picture, text, answers, task, about)
