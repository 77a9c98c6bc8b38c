"""DAQUAR text (Malinowski and Fritz 2014): a line of question, a line of answers, in turn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from vqa.data.example import Example
from vqa.data.formats.probe import FileProbe
from vqa.data.picture_files import with_any_ending
from vqa.data.row_reader import NumberedRow, ReadOptions, read_examples
from vqa.errors import InputError

NAME = "DAQUAR text"
_PICTURE = re.compile(r"\bimage(\d{1,18})\b")
# ` in the image3`, ` on this image3` at the end; `of the image3` needs its object and stays
_TAIL = re.compile(r"\s+(?:in|on|from|inside)\s+(?:the\s+|this\s+)?image\d+\s*$")


def sniff(probe: FileProbe) -> bool:
    """Recognise a first line that asks about a numbered picture (`... in the image3 ?`)."""
    lines = [line.strip() for line in probe.lines[:2]]
    return (
        len(lines) == 2
        and lines[0].endswith("?")
        and picture_number(lines[0]) is not None
        and picture_number(lines[1]) is None
    )


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read a row for each question, under its line; question and answer in plain words."""
    return read_examples(_rows(probe.path, options.root), options)


def _rows(path: Path, root: Path) -> Iterator[NumberedRow]:
    @lru_cache(16_384)
    def name(number: int) -> str:
        return with_any_ending(root, [f"image{number}"]) or f"image{number}.jpg"

    try:
        with path.open(encoding="utf-8-sig") as file:
            for index, line in enumerate(file):
                if index % 2 == 0:
                    question = line.strip()
                    continue
                number = picture_number(question)
                if number is None:
                    yield index, ValueError("no picture (`image3`) in the question")
                    continue
                answer = natural_answer(line)
                yield (
                    index,
                    {
                        "image": name(number),
                        "question": natural_question(question),
                        "answer": answer or None,
                    },
                )
            if index % 2 == 0 and question:
                yield index + 1, ValueError("a question without its line of answers")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8; convert the file first") from None
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


def picture_number(question: str) -> int | None:
    """Return the number of the picture that a question of the file names.

    >>> picture_number("what is on the table in the image3 ?")
    3
    """
    match = _PICTURE.search(question)
    return int(match[1]) if match is not None else None


def natural_question(question: str) -> str:
    """Write the question as a person would ask it: without the picture's name.

    >>> natural_question("what is on the table in the image3 ?")
    'What is on the table?'
    """
    text = question.strip().removesuffix("?").strip()
    text = _TAIL.sub("", text)
    text = _PICTURE.sub("image", text)
    text = re.sub(r"\s+", " ", text.replace("_", " ")).strip()
    return f"{text[:1].upper()}{text[1:]}?"


def natural_answer(answer: str) -> str:
    """Write the answer in plain words: `book, tape_dispenser` becomes `book, tape dispenser`."""
    parts = (part.strip().replace("_", " ") for part in answer.split(","))
    return ", ".join(part for part in parts if part)
