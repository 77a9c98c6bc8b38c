"""Caption CSV (`image,caption`, one line a caption) with lists of the official splits."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from vqa.data.picture import Picture
from vqa.data.readers.files import lines, under
from vqa.errors import InputError


def read(
    captions: Path, images: Path, splits: Mapping[str, Path] | None = None, source: str = "captions"
) -> Iterator[Picture]:
    """Yield a picture with its captions, in the order of the file.

    `splits` maps the name of a split to a file with one picture's name a line; with it, pictures of
    no split are left out. Raises InputError with file and line.
    """
    split_of = {
        line.strip(): split
        for split, path in (splits or {}).items()
        for line in lines(path)
        if line.strip()
    }
    rows = csv.reader(lines(captions))
    if [cell.strip().lower() for cell in next(rows, [])] != ["image", "caption"]:
        raise InputError(f"{captions}:1: the first line must be `image,caption`")
    found: dict[str, list[str]] = {}
    for row in rows:
        if len(row) != 2 or not row[0].strip():
            raise InputError(f"{captions}:{rows.line_num}: not a picture and a caption")
        found.setdefault(row[0].strip(), []).append(row[1].strip())
    for name, texts in found.items():
        if splits and name not in split_of:
            continue
        yield Picture(
            under(images, name, str(captions)),
            source,
            official_split=split_of.get(name, ""),
            captions=tuple(text for text in texts if text),
        )
