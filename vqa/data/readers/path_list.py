"""Path list with class numbers (`path, fine id, coarse id`) and a CSV that names the classes."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from vqa.data.picture import Label, Picture
from vqa.data.readers.files import lines, under
from vqa.errors import InputError


def read(
    paths: Path,
    classes: Path,
    images: Path,
    label: Callable[[str, str, str], Label],
    source: str = "paths",
) -> Iterator[Picture]:
    """Yield a picture with `label(path, fine name, coarse name)`.

    The CSV's first four columns are fine name, fine id, coarse name, coarse id, under one line of
    headings. Raises InputError with file and line.
    """
    names: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(csv.reader(lines(classes)), start=1):
        if number > 1 and row:
            if len(row) < 4:
                raise InputError(f"{classes}:{number}: not fine name, id, coarse name, id")
            names[row[1].strip()] = (row[0].strip(), row[2].strip())
    for number, line in enumerate(lines(paths), start=1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 3 or parts[1] not in names:
            raise InputError(f"{paths}:{number}: not a path, a known fine id and a coarse id")
        path = under(images, parts[0], f"{paths}:{number}")
        yield Picture(path, source, label=label(parts[0], *names[parts[1]]))
