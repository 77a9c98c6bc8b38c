"""The flat row that every format is brought to, and the example that it makes.

`image` (or `images`) is a path or a list of paths, `answer` a text or `answers` a list of accepted
texts, `earlier` a list of `{"question", "answer", "pictures", "learned"}`, `system` a text; other
columns are kept. Where a file holds pictures themselves, an image is bytes, or `{"bytes", "path"}`
as in the data sets of the Hugging Face hub.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vqa.data.example import Example, Turn
from vqa.data.stored import store, stored_path

Columns = dict[str, Any]
KNOWN = frozenset({"id", "image", "images", "question", "answer", "answers", "earlier", "system"})


def example_of(
    key: str | int,
    row: Columns,
    inside: Callable[[str], Path] | None,
    need_answers: bool,
    line: int = 0,
) -> Example:
    """The example of a flat row.

    `inside` makes a path of a picture's name, or raises ValueError; without it pictures are not
    needed, may be missing, and are kept as names. Raises ValueError with what is wrong.
    """
    question = _text(row.get("question"), "question")
    answers = _answers(row)
    if need_answers and not answers:
        raise ValueError("answer is missing or empty")
    images: tuple[str | Path, ...]
    if inside is not None:
        images = tuple(_picture(image, inside) for image in _images(row, needed=True))
    else:
        images = tuple(filter(None, map(_name, _images(row, needed=False))))
    earlier = _earlier(row)
    if inside is not None and sum(turn.pictures for turn in earlier) > len(images):
        raise ValueError(f"earlier has more pictures than the row, which has {len(images)}")
    extra = {name: value for name, value in row.items() if name not in KNOWN}
    if isinstance(extra.get("choices"), list):
        extra["choices"] = [_text_of(choice) for choice in extra["choices"]]
    system = row.get("system", "")
    if not isinstance(system, str):  # a column of another meaning
        extra["system"], system = system, ""
    return Example(key, images, question, answers, extra, earlier, system, line)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} is missing or empty")
    return value


def _answers(row: Columns) -> tuple[str, ...]:
    if row.get("answer") is not None and row.get("answers") is not None:
        raise ValueError("both answer and answers; keep one")
    found = row.get("answers") if row.get("answers") is not None else row.get("answer")
    if found is None or (isinstance(found, str) and not found.strip()):
        return ()
    found = found if isinstance(found, list) else [found]
    # a number is what a table's program makes of the answer "2", and nan of none
    if any(isinstance(a, bool) or not isinstance(a, str | int | float) for a in found):
        raise ValueError("answers must be texts")
    there = (a for a in found if not (isinstance(a, float) and not math.isfinite(a)))
    texts = tuple(map(_written, there))
    if not all(text.strip() for text in texts):
        raise ValueError("answer is missing or empty")
    return texts


def _text_of(value: Any) -> Any:
    """A number as a text; anything else as it is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _written(value) if is_number else value


def _written(value: str | float) -> str:
    """As people write it: a table's program makes 2.0 of 2 where a cell of the column is empty."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _images(row: Columns, needed: bool) -> list[Any]:
    if needed and "image" in row and "images" in row:
        raise ValueError("both image and images; keep one")
    found = row.get("image", row.get("images"))
    if isinstance(found, str | bytes | dict | Path):
        found = [found]
    if isinstance(found, list):
        return found
    if needed:
        raise ValueError("image is missing: a path or a list of paths")
    return []


def _picture(image: object, inside: Callable[[str], Path]) -> Path:
    """The path of a picture; one that is given as bytes is written to a file."""
    image = _plain(image)
    if isinstance(image, bytes):
        return store(image)
    if not isinstance(image, str) or not image.strip() or "\0" in image:
        raise ValueError("image must be a path or a list of paths")
    return inside(image)


def _name(image: object) -> str | None:
    """What tells a picture from others, unchecked."""
    image = _plain(image)
    if isinstance(image, bytes):
        return str(stored_path(image))
    return image if isinstance(image, str) else None


def _plain(image: object) -> object:
    """Bytes or a path, where both may be given as the hub's data sets do."""
    return image.get("bytes") or image.get("path") if isinstance(image, dict) else image


def _earlier(row: Columns) -> tuple[Turn, ...]:
    found = row.get("earlier")
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(turn, dict) for turn in found):
        raise ValueError("earlier must be a list of objects with question and answer")
    return tuple(map(_turn, found))


def _turn(turn: dict[str, Any]) -> Turn:
    pictures = turn.get("pictures", 0)
    if isinstance(pictures, bool) or not isinstance(pictures, int) or pictures < 0:
        raise ValueError("pictures of an earlier turn must be a number")
    learned = turn.get("learned")
    if learned is not None and not isinstance(learned, bool):
        raise ValueError("learned of an earlier turn must be true or false")
    question = _text(turn.get("question"), "question of an earlier turn")
    answer = _text(turn.get("answer"), "answer of an earlier turn")
    return Turn(question, answer, pictures, learned is not False)
