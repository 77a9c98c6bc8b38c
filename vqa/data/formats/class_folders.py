"""Folder per class: what is in a picture is the name of its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vqa.data.example import Example
from vqa.data.formats.look import Seen
from vqa.data.readers.files import pictures
from vqa.data.rows import Raw, Wanted, examples
from vqa.errors import InputError

NAME = "a folder for each class"
QUESTION = "What is in the picture?"


def sniff(seen: Seen) -> bool:
    """A folder with a folder that has a picture."""
    return seen.kind == "folder" and any(map(pictures, _classes(seen.path)))


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """A row for each picture, in the order of their names; its path in the folder is its id."""
    return examples(_rows(seen.path, wanted.root), wanted)


def _classes(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.is_dir())


def _rows(folder: Path, root: Path) -> Iterator[Raw]:
    number = 0
    try:
        for of_class in _classes(folder):
            answer = of_class.name.replace("_", " ").strip()
            for path in pictures(of_class):
                number += 1
                name = path.relative_to(folder).as_posix()
                # as it lies below the root of pictures, where another folder was given for that
                image = name if root == folder else str(path.absolute())
                yield number, {"id": name, "image": image, "question": QUESTION, "answer": answer}
    except OSError as error:
        raise InputError(f"Cannot read {folder}: {error.strerror or error}.") from error
