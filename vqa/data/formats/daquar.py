"""DAQUAR text (Malinowski and Fritz 2014): a line of question, a line of answers, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from vqa.data.example import Example
from vqa.data.formats.look import Seen
from vqa.data.readers.daquar import natural_answer, natural_question, picture_number
from vqa.data.rows import Raw, Wanted, examples
from vqa.errors import InputError

NAME = "DAQUAR text"


def sniff(seen: Seen) -> bool:
    """The first line asks about a numbered picture (`... in the image3 ?`), the second does not."""
    lines = [line.strip() for line in seen.lines[:2]]
    return (
        len(lines) == 2
        and lines[0].endswith("?")
        and picture_number(lines[0]) is not None
        and picture_number(lines[1]) is None
    )


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """A row for each question, under its line; question and answer in plain words."""
    return examples(_rows(seen.path, wanted.root), wanted)


def _rows(path: Path, root: Path) -> Iterator[Raw]:
    @lru_cache(16_384)
    def name(number: int) -> str:
        names = [f"image{number}{ending}" for ending in (".jpg", ".png")]
        return next((found for found in names if (root / found).is_file()), names[0])

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
