"""Lists and tables of pictures: captions, labels, classes by number, scenes; a line each."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from training.mix.picture import Label, Picture
from training.mix.readers.files import lines, under
from vqa.data.picture_files import with_any_ending
from vqa.errors import InputError


def read_captions(
    captions: Path, images: Path, splits: Mapping[str, Path] | None = None, source: str = "captions"
) -> Iterator[Picture]:
    """Yield a picture with its captions, in the order of a CSV `image,caption`, one line a caption.

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
    captions_of: dict[str, list[str]] = {}
    for row in rows:
        if len(row) != 2 or not row[0].strip():
            raise InputError(f"{captions}:{rows.line_num}: not a picture and a caption")
        captions_of.setdefault(row[0].strip(), []).append(row[1].strip())
    for name, texts in captions_of.items():
        if splits and name not in split_of:
            continue
        yield Picture(
            under(images, name, str(captions)),
            source,
            official_split=split_of.get(name, ""),
            captions=tuple(text for text in texts if text),
        )


def read_labels(
    table: Path, images: Path, picture: Callable[[Path, str], Picture]
) -> Iterator[Picture]:
    """Yield `picture(path, label)` for each line of a CSV below its headings.

    Columns after the first two are ignored. Raises InputError with file and line.
    """
    for number, row in enumerate(csv.reader(lines(table)), start=1):
        if number == 1 or not row:
            continue
        if len(row) < 2 or not row[0].strip() or not row[1].strip():
            raise InputError(f"{table}:{number}: not a picture and a label")
        yield picture(under(images, row[0].strip(), f"{table}:{number}"), row[1].strip())


def read_paths(
    paths: Path,
    classes: Path,
    images: Path,
    label: Callable[[str, str, str], Label],
    source: str = "paths",
) -> Iterator[Picture]:
    """Yield a picture with `label(path, fine name, coarse name)`, of `path, fine id, coarse id`.

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


def read_scenes(scenes: Path, images: Path, source: str = "scenes") -> Iterator[Picture]:
    """Yield a picture with its scene, of lines with both; names may lack their ending.

    Raises InputError with file and line.
    """
    for number, line in enumerate(lines(scenes), start=1):
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) != 2:
            raise InputError(f"{scenes}:{number}: not a name and a scene")
        name = parts[0]
        if not Path(name).suffix:
            name = with_any_ending(images, [name]) or f"{name}.jpg"
        yield Picture(under(images, name, f"{scenes}:{number}"), source, scene=parts[1])
