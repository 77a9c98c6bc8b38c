"""DAQUAR text (Malinowski and Fritz 2014): a line of question, a line of answers, in turn.

The picture's name stands in the question (`what is on the table in the image3 ?`), several answers
are separated by commas, words of a name are joined by `_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vqa.data.picture import Picture
from vqa.data.readers.files import lines
from vqa.errors import InputError

_PICTURE = re.compile(r"\bimage(\d{1,18})\b")
# ` in the image3`, ` on this image3` at the end; `of the image3` needs its object and is kept
_TAIL = re.compile(r"\s+(?:in|on|from|inside)\s+(?:the\s+|this\s+)?image\d+\s*$")
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
    found: dict[int, list[tuple[str, str]]] = {}
    for index in range(0, len(text), 2):
        question, answer = text[index], text[index + 1]
        number = picture_number(question)
        if number is None or not answer:
            problem = "no picture (`image3`) in the question" if answer else "no answer"
            raise InputError(f"{questions}:{index + 1}: {problem}")
        found.setdefault(number, []).append((question, answer))
    for number, pairs in found.items():
        candidates = [images / f"image{number}{ending}" for ending in (".jpg", ".png")]
        path = next((p for p in candidates if p.exists()), candidates[0])
        group = f"room{number // _FRAMES_OF_ONE_ROOM}"
        yield Picture(path, source, group=group, questions=tuple(pairs))


def picture_number(question: str) -> int | None:
    """The number of the picture that a question of the file names.

    >>> picture_number("what is on the table in the image3 ?")
    3
    """
    match = _PICTURE.search(question)
    return int(match[1]) if match is not None else None


def natural_question(question: str) -> str:
    """The question as a person would ask it: without the picture's name.

    >>> natural_question("what is on the table in the image3 ?")
    'What is on the table?'
    """
    text = question.strip().removesuffix("?").strip()
    text = _TAIL.sub("", text)
    text = _PICTURE.sub("image", text)
    text = re.sub(r"\s+", " ", text.replace("_", " ")).strip()
    return f"{text[:1].upper()}{text[1:]}?"


def natural_answer(answer: str) -> str:
    """The answer in plain words: `book, tape_dispenser` becomes `book, tape dispenser`."""
    parts = (part.strip().replace("_", " ") for part in answer.split(","))
    return ", ".join(part for part in parts if part)
