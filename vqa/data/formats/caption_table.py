"""Captions as a table (`image,caption`, one line a caption), as of Flickr8k: a row a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vqa.data.example import Example
from vqa.data.formats.coco_captions import QUESTION
from vqa.data.formats.look import Seen
from vqa.data.formats.table import cells, delimiter, first_row
from vqa.data.rows import Raw, Wanted, examples

NAME = "CSV (image, caption)"
_NAMES = {"image", "caption"}


def sniff(seen: Seen) -> bool:
    """The first line names pictures and captions and no questions."""
    return bool(seen.lines) and delimiter(seen.lines[0], _NAMES) is not None


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """A row for lines that follow each other about one picture, under the first one's number."""
    return examples(_rows(seen), wanted)


def _rows(seen: Seen) -> Iterator[Raw]:
    mark = delimiter(seen.lines[0], _NAMES)
    assert mark is not None
    rows = cells(seen.path, mark)
    names = [name.strip().lower() for name in first_row(seen.path, rows)]
    image, caption = names.index("image"), names.index("caption")
    begun: tuple[int, dict[str, Any]] | None = None
    for number, row in rows:
        if isinstance(row, ValueError) or len(row) != len(names):
            yield number, ValueError(row if isinstance(row, ValueError) else
                                     f"{len(row)} cells, but {len(names)} columns")  # fmt: skip
            continue
        if begun is not None and begun[1]["image"] != row[image]:
            yield begun
            begun = None
        begun = begun or (number, {"image": row[image], "question": QUESTION, "answers": []})
        begun[1]["answers"].append(row[caption].strip())
    if begun is not None:
        yield begun
