"""Folder per class: what is in a picture is the name of its folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from vqa.data.example import Example
from vqa.data.formats.probe import FileProbe
from vqa.data.picture_files import has_classes, list_classes
from vqa.data.row_reader import NumberedRow, ReadOptions, read_examples

NAME = "a folder for each class"
QUESTION = "What is in the picture?"


def sniff(probe: FileProbe) -> bool:
    """Recognise a folder with a folder that has a picture."""
    return probe.kind == "folder" and has_classes(probe.path)


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read a row for each picture, in the order of names; its path in the folder is its id."""
    return read_examples(_rows(probe.path, options), options)


def _rows(folder: Path, options: ReadOptions) -> Iterator[NumberedRow]:
    classes, left_out = list_classes(folder)
    if left_out is not None:
        options.notice(left_out)
    number = 0
    for class_name, paths in classes.items():
        # Macs write a letter and its mark as two characters; others write one
        answer = unicodedata.normalize("NFC", class_name.replace("_", " ").strip())
        for path in paths:
            number += 1
            name = path.relative_to(folder).as_posix()
            # as it lies below the root of pictures, where another folder is the root
            image = name if options.root == folder else str(path.absolute())
            yield number, {"id": name, "image": image, "question": QUESTION, "answer": answer}
