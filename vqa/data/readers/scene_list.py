"""Scene list: one line a picture, its name and the kind of place, separated by white space."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vqa.data.picture import Picture
from vqa.data.readers.files import lines, under
from vqa.errors import InputError


def read(scenes: Path, images: Path, source: str = "scenes") -> Iterator[Picture]:
    """Yield a picture with its scene. Names may lack the ending `.jpg`. Raises InputError."""
    for number, line in enumerate(lines(scenes), start=1):
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) != 2:
            raise InputError(f"{scenes}:{number}: not a name and a scene")
        name = parts[0] if Path(parts[0]).suffix else f"{parts[0]}.jpg"
        yield Picture(under(images, name, f"{scenes}:{number}"), source, scene=parts[1])
