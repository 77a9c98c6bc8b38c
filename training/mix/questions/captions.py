"""Describe the picture: captions as they were written, cleaned."""

from __future__ import annotations

import random
from collections.abc import Iterator

from training.mix.picture import Picture
from training.mix.questions.wording import Question, word
from training.mix.questions.words import clean_caption

DESCRIBE = "Describe the image."
_WORDINGS = (
    DESCRIBE,
    "Describe the {image}.",
    "Describe this {image}.",
    "Describe the {image} briefly.",
    "Describe this {image} in one sentence.",
    "Write a short caption for this {image}.",
    "Write a caption for the {image}.",
    "Give a short description of the {image}.",
    "Caption this {image}.",
    "What is happening in this {image}?",
    "What is happening in the {image}?",
    "What is going on here?",
    "What do you see in this {image}?",
    "What can you see?",
    "What does the {image} show?",
    "What is in this {image}?",
)


def caption_questions(picture: Picture, rng: random.Random) -> Iterator[Question]:
    """Ask for every caption of the picture, in random order, each in another wording."""
    captions = [text for text in map(clean_caption, picture.captions) if len(text.split()) > 2]
    rng.shuffle(captions)
    wordings = rng.sample(_WORDINGS, k=min(len(captions), len(_WORDINGS)))
    for caption, wording in zip(captions, wordings, strict=False):
        yield Question(picture, word(rng, [wording]), (caption,), "captions")


def caption_check(picture: Picture, rng: random.Random) -> Iterator[Question]:
    """Ask one question with all captions as references, for measuring."""
    captions = tuple(text for text in map(clean_caption, picture.captions) if text)
    if captions:
        yield Question(picture, DESCRIBE, captions, "captions")
