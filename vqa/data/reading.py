"""The one entry for data of any known format, which is told by its content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from vqa.data.example import Example
from vqa.data.formats import (
    caption_table,
    class_folders,
    coco_captions,
    daquar,
    flat_json,
    hub,
    llava,
    openai,
    parquet,
    sharegpt,
    table,
    vqa_v2,
)
from vqa.data.formats.look import Seen, look
from vqa.data.rows import BadRow, BadRows, Wanted
from vqa.errors import InputError


class Format(Protocol):
    """What each module of `vqa.data.formats` that reads a format gives."""

    NAME: str

    def sniff(self, seen: Seen) -> bool:
        """Whether a file or folder is of this format."""

    def read(self, seen: Seen, wanted: Wanted) -> Iterator[Example]:
        """Its rows; bad ones are told to `wanted.bad`."""


# The first that knows a file reads it; flat JSON takes all rows that are no conversation.
FORMATS: tuple[Format, ...] = (
    llava, sharegpt, openai, flat_json, table, caption_table, parquet, vqa_v2, coco_captions,
    daquar, hub, class_folders,
)  # fmt: skip


def read(
    path: str | os.PathLike[str],
    images_root: str | os.PathLike[str] | None = None,
    *,
    need_answers: bool = True,
    need_images: bool = True,
    bad: Callable[[BadRow], None] | None = None,
) -> Iterator[Example]:
    """Yield the rows as examples, their images as paths below `images_root`.

    The root is the file's folder unless given. No path may leave it, absolute or relative; whether
    a picture is there and whole shows when it is opened. Pictures that stand in the file itself are
    written once to the cache directory. Without `need_images` the column may be missing and is kept
    as it stands, as names that tell pictures apart (scoring opens none); without `need_answers`
    that one may be missing.

    Rows are read as they are needed; of VQA v2 all annotations are in memory, and of COCO all
    captions.

    Raises BadRows (an InputError) with every bad row, before the first example is yielded: the file
    is read twice. With `bad` it is told of each bad row instead, between the good ones, in the
    order of the file. Raises InputError where no format knows the file.
    """
    path = Path(path)
    seen = look(path)
    format = format_of(seen)
    root = Path(images_root) if images_root is not None else default_root(path)
    if need_images and not root.is_dir():
        raise InputError(f"{root}: no such directory of pictures")
    if bad is not None:
        yield from format.read(seen, Wanted(root, need_answers, need_images, bad))
        return
    found: list[BadRow] = []
    wanted = Wanted(root, need_answers, need_images, found.append)
    for _ in format.read(seen, wanted):
        pass
    if found:
        raise BadRows(path, [(row.line, row.reason) for row in found])

    def changed(row: BadRow) -> None:
        raise BadRows(path, [(row.line, row.reason)])

    yield from format.read(seen, replace(wanted, bad=changed))


def format_of(seen: Seen) -> Format:
    """The format that knows a file. Raises InputError with what is accepted and what was found."""
    for format in FORMATS:
        if format.sniff(seen):
            return format
    accepted = ", ".join(format.NAME for format in FORMATS)
    raise InputError(f"{seen.path} is {seen.what}: no known format of data. Accepted: {accepted}.")


def default_root(path: Path) -> Path:
    """Where the pictures of a file are unless it is said: in its folder, or in the named one."""
    if not path.exists():  # a hub id: its pictures stand in it
        return Path.cwd()
    return path if path.is_dir() else path.parent
