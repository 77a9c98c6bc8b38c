"""Questions that people asked about the picture, with their answers in plain words."""

from __future__ import annotations

import random
from collections.abc import Iterator

from vqa.data.picture import Picture
from vqa.data.questions.wording import Question, asked
from vqa.data.readers.daquar import natural_answer, natural_question

_RAW_SHARE = 0.15  # as the data set writes it: `what is on the table in the image3 ?`


def people_questions(
    picture: Picture, rng: random.Random, check: bool = False
) -> Iterator[Question]:
    """All questions of the picture in random order, most of them in natural form."""
    pairs = list(picture.questions)
    if not check:
        rng.shuffle(pairs)
    for question, answer in pairs:
        text = natural_question(question)
        if not check:
            text = question if rng.random() < _RAW_SHARE else text
            yield asked(picture, rng, text, (natural_answer(answer),), "questions")
            continue
        yield Question(picture, text, (natural_answer(answer),), "questions")
