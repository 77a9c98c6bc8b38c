"""Folder per class: the folder's name is the label, or a table gives a readable one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.mix.picture import Label, Picture
from training.mix.readers.files import lines
from vqa.data.picture_files import list_classes
from vqa.errors import InputError

_log = logging.getLogger(__name__)
_NO_CLASS = frozenset({"BACKGROUND_Google"})  # Caltech-101's folder of anything else


def read(
    root: Path, labels: Mapping[str, Label] | None = None, source: str = "folders"
) -> Iterator[Picture]:
    """Yield a picture with its label. A folder that `labels` lacks is named after itself.

    Files of the same number in folders of the same label share a group: Caltech-101 has some
    pictures twice, whole and cut (`Faces` and `Faces_easy`).
    """
    classes, left_out = list_classes(root)
    if not classes:
        raise InputError(f"{root}: no folders in it; one folder for each class is expected")
    if left_out is not None:
        _log.warning(left_out.line_about(root))
    for name, paths in classes.items():
        if name in _NO_CLASS:
            continue
        plain = name.replace("_", " ").strip().lower()
        label = (labels or {}).get(name) or Label(plain, plain)
        for path in paths:
            yield Picture(path, source, group=f"{label.name}/{path.stem}", label=label)


def name_table(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a table of folder id, tab, names separated by commas (ImageNet's `words.txt`)."""
    table: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines(path), start=1):
        key, tab, names = line.partition("\t")
        folder_names = tuple(name.strip() for name in names.split(",") if name.strip())
        if line.strip() and not (tab and folder_names):
            raise InputError(f"{path}:{number}: not an id, a tab and names")
        if line.strip():
            table[key.strip()] = folder_names
    return table
