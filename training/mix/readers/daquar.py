"""DAQUAR text (Malinowski and Fritz 2014): a line of question, a line of answers, in turn.

The picture's name stands in the question (`what is on the table in the image3 ?`), several answers
are separated by commas, words of a name are joined by `_`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.mix.picture import Picture
from training.mix.readers.files import lines
from vqa.data.formats.daquar import picture_number
from vqa.data.picture_files import with_any_ending
from vqa.errors import InputError

_FRAMES_OF_ONE_ROOM = 10


def read(questions: Path, images: Path, source: str = "daquar") -> Iterator[Picture]:
    """Yield a picture with its questions and answers as they stand in the file.

    Neighbours in number are mostly frames of one room, so every ten numbers share a group: a split
    by picture alone would show rooms of the validation set in training, which the official split by
    room does not. Raises InputError with file and line.
    """
    text = [line.strip() for line in lines(questions)]
    while text and not text[-1]:
        text.pop()
    if len(text) % 2:
        raise InputError(
            f"{questions}: {len(text)} lines; question and answer lines must alternate"
        )
    questions_of: dict[int, list[tuple[str, str]]] = {}
    for index in range(0, len(text), 2):
        question, answer = text[index], text[index + 1]
        number = picture_number(question)
        if number is None or not answer:
            problem = "no picture (`image3`) in the question" if answer else "no answer"
            raise InputError(f"{questions}:{index + 1}: {problem}")
        questions_of.setdefault(number, []).append((question, answer))
    for number, pairs in questions_of.items():
        path = images / (with_any_ending(images, [f"image{number}"]) or f"image{number}.jpg")
        group = f"room{number // _FRAMES_OF_ONE_ROOM}"
        yield Picture(path, source, group=group, questions=tuple(pairs))
