"""The one entry for data of any known format, which is recognised by its content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
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
    json_object,
    llava_json,
    openai,
    parquet,
    sharegpt,
    table,
    vqa_v2,
)
from vqa.data.formats.probe import FileProbe, probe_file
from vqa.data.row_limits import BAD_ROWS
from vqa.data.row_reader import BadRow, BadRows, Notice, ReadOptions
from vqa.data.unique_ids import Id
from vqa.errors import InputError


class DataFormat(Protocol):
    """What each module of `vqa.data.formats` that reads a format gives."""

    NAME: str

    def sniff(self, probe: FileProbe) -> bool:
        """Return whether a file or folder is of this format."""

    def read(self, probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
        """Read its rows; `options.bad` is called with bad ones."""


# The first that knows a file reads it; flat JSON takes all rows that are no conversation.
FORMATS: tuple[DataFormat, ...] = (
    llava_json, sharegpt, openai, flat_json, table, caption_table, parquet, vqa_v2, coco_captions,
    json_object, daquar, hub, class_folders,
)  # fmt: skip


def read(
    path: str | os.PathLike[str],
    images_root: str | os.PathLike[str] | None = None,
    *,
    need_answers: bool = True,
    need_images: bool = True,
    columns: Mapping[str, str] | None = None,
    bad: Callable[[BadRow], None] | None = None,
    notice: Callable[[Notice], None] = lambda notice: None,
) -> Iterator[Example]:
    """Yield the rows as examples, their images as paths below `images_root`.

    The root is the file's folder unless given. No path may leave it, absolute or relative; whether
    a picture is there and whole shows when it is opened. Pictures that stand in the file itself are
    written once to the cache directory. Without `need_images` the column may be missing and stays
    as it is, as names that tell pictures apart (scoring opens none); without `need_answers`
    that one may be missing. `columns` has names as here, and how the file calls them.

    Ids are unique: of rows with one id the second is `ID#2` (see `vqa.data.unique_ids`), the same
    on every reading. `notice` is called with that once, at the first such row; and with what is
    left out of a folder.

    Rows are read as they are needed; of VQA v2 all annotations are in memory, and of COCO all
    captions.

    Raises BadRows (an InputError) with every bad row, before the first example is yielded: the file
    is read twice. With `bad` that is called with each bad row instead, between the good ones, in
    the order of the file. Raises InputError where no format knows the file, or where so many rows
    are bad that it is none of rows.
    """
    path = Path(path)
    probe = probe_file(path)
    format = format_of(probe)
    root = Path(images_root) if images_root is not None else default_root(path)
    if need_images and not root.is_dir():
        raise InputError(f"{root}: no such directory of pictures")
    bad_rows: list[BadRow] = []

    def own_ids(note: Callable[[int, Id], None]) -> None:
        for _ in format.read(probe, replace(options, note_id=note, notice=lambda notice: None)):
            pass

    report = _limited(path, bad or bad_rows.append)
    options = ReadOptions(
        root, need_answers, need_images, report, notice=notice, own_ids=own_ids,
        columns=columns or {},
    )  # fmt: skip
    if bad is not None:
        yield from format.read(probe, options)
        return
    for _ in format.read(probe, options):
        pass
    if bad_rows:
        raise BadRows(path, [(row.line, row.reason) for row in bad_rows])

    def changed(row: BadRow) -> None:
        raise BadRows(path, [(row.line, row.reason)])

    yield from format.read(probe, replace(options, bad=changed, notice=lambda notice: None))


def _limited(path: Path, bad: Callable[[BadRow], None]) -> Callable[[BadRow], None]:
    """Report bad rows, until there are too many to be held."""
    count = 0

    def report(row: BadRow) -> None:
        nonlocal count
        count += 1
        if count > BAD_ROWS:
            raise InputError(
                f"{path}:{row.line}: {row.reason}; and {BAD_ROWS:,} rows before it are bad, too: "
                "nothing after it is read"
            )
        bad(row)

    return report


def format_of(probe: FileProbe) -> DataFormat:
    """Find the format of a file. Raises InputError with what it is and what is accepted."""
    for format in FORMATS:
        if format.sniff(probe):
            return format
    accepted = ", ".join(format.NAME for format in FORMATS)
    raise InputError(
        f"{probe.path} is {probe.what}: no known format of data. Accepted: {accepted}."
    )


def default_root(path: Path) -> Path:
    """Return where the pictures of a file are by default: in its folder, or in the named one."""
    if not path.exists():  # a hub id: its pictures stand in it
        return Path.cwd()
    return path if path.is_dir() else path.parent
