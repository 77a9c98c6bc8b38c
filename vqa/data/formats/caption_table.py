"""Captions as a table (`image,caption`, one line a caption), as of Flickr8k: a row a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vqa.data.example import Example
from vqa.data.formats.probe import FileProbe
from vqa.data.formats.table import cells, delimiter, first_row, value_of, without_empty_end
from vqa.data.published_columns import CAPTION_QUESTION
from vqa.data.row_reader import NumberedRow, ReadOptions, read_examples

NAME = "CSV (image, caption)"
_NAMES = {"image", "caption"}


def sniff(probe: FileProbe) -> bool:
    """Recognise a first line that names pictures and captions and no questions."""
    return bool(probe.lines) and delimiter(probe.lines[0], _NAMES) is not None


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read a row for successive lines about one picture, under the first one's number."""
    return read_examples(_rows(probe), options)


def _rows(probe: FileProbe) -> Iterator[NumberedRow]:
    mark = delimiter(probe.lines[0], _NAMES)
    assert mark is not None
    rows = cells(probe.path, mark)
    names = [name.strip().lower() for name in first_row(probe.path, rows)]
    image, caption = names.index("image"), names.index("caption")
    begun: tuple[int, dict[str, Any]] | None = None
    for number, row in rows:
        row = row if isinstance(row, ValueError) else without_empty_end(row, len(names))
        if isinstance(row, ValueError) or len(row) != len(names):
            yield number, ValueError(row if isinstance(row, ValueError) else
                                     f"{len(row)} cells, but {len(names)} columns")  # fmt: skip
            continue
        if begun is not None and begun[1]["image"] != row[image]:
            yield begun
            begun = None
        begun = begun or (
            number,
            {"image": row[image], "question": CAPTION_QUESTION, "answers": []},
        )
        value = value_of("answers", row[caption])
        if value is not None:
            begun[1]["answers"] += value if isinstance(value, list) else [value]
    if begun is not None:
        yield begun
