"""Folder per class: the folder's name is the label, or a table gives a readable one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from vqa.data.picture import Label, Picture
from vqa.data.readers.files import folders, lines, pictures
from vqa.errors import InputError

_NO_CLASS = frozenset({"BACKGROUND_Google"})  # Caltech-101's folder of anything else


def read(
    root: Path, labels: Mapping[str, Label] | None = None, source: str = "folders"
) -> Iterator[Picture]:
    """Yield a picture with its label. A folder that `labels` lacks is named after itself.

    Files of the same number in folders of the same label share a group: Caltech-101 has some
    pictures twice, whole and cut (`Faces` and `Faces_easy`).
    """
    for folder in folders(root):
        if folder.name in _NO_CLASS or folder.name.startswith("."):
            continue
        plain = folder.name.replace("_", " ").strip().lower()
        label = (labels or {}).get(folder.name) or Label(plain, plain)
        for path in pictures(folder):
            yield Picture(path, source, group=f"{label.name}/{path.stem}", label=label)


def name_table(path: Path) -> dict[str, tuple[str, ...]]:
    """A table of folder id, tab, names separated by commas (ImageNet's `words.txt`)."""
    table: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines(path), start=1):
        key, tab, names = line.partition("\t")
        found = tuple(name.strip() for name in names.split(",") if name.strip())
        if line.strip() and not (tab and found):
            raise InputError(f"{path}:{number}: not an id, a tab and names")
        if line.strip():
            table[key.strip()] = found
    return table
