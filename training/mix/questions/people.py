"""Questions that people asked about the picture, with their answers in plain words."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

from training.mix.picture import Picture
from training.mix.questions.wording import Question, asked
from vqa.data.formats.daquar import natural_answer, natural_question

_AGREED = 3  # of ten people: an answer that fewer gave is a matter of taste
_RAW_SHARE = 0.15  # as the data set writes it: `what is on the table in the image3 ?`


def people_questions(
    picture: Picture, rng: random.Random, check: bool = False
) -> Iterator[Question]:
    """Ask all questions of the picture in random order, most of them in natural form."""
    for question, answers in picture.asked:
        if check:  # all answers: the metric counts how many people agree
            yield Question(picture, question, answers, "people")
            continue
        (most, times), *_ = Counter(answers).most_common(1)
        if times >= _AGREED or len(answers) == 1:
            yield asked(picture, rng, question, (most,), "people", most)
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
