"""Many wordings of one question, and the instructions that ask for a short answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from vqa.data.picture import Picture

PLACES_OF_A_PICTURE = ("image", "image", "picture", "picture", "photo")
_BRIEFLY = (
    "Answer the question using a single word or phrase.",
    "Answer the question using a single word or phrase.",
    "Answer with a word or a short phrase.",
    "Answer briefly.",
    "Give a short answer.",
)
_SHARE_WITH_INSTRUCTION = 0.35


@dataclass(frozen=True)
class Question:
    """A question about a picture with its accepted answers; the first is the one to learn."""

    picture: Picture
    text: str
    answers: tuple[str, ...]
    task: str
    about: str = ""  # the object, place or number that answers are balanced over


def word(rng: random.Random, wordings: Sequence[str], **fields: str) -> str:
    """One of the wordings, `{fields}` filled in; `{image}` is image, picture or photo."""
    return rng.choice(wordings).format(image=rng.choice(PLACES_OF_A_PICTURE), **fields)


def instruct(rng: random.Random, question: str) -> str:
    """The question, now and then with an instruction to answer in a word or a phrase."""
    if rng.random() >= _SHARE_WITH_INSTRUCTION:
        return question
    return f"{question}{rng.choice((' ', chr(10)))}{rng.choice(_BRIEFLY)}"
