"""Conversion: any format that is read, into one of those that are written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vqa.data.example import Example
from vqa.data.formats import flat_json, llava, openai, parquet, table
from vqa.data.reading import default_root, read
from vqa.data.rows import BadRow
from vqa.data.stored import stored_directory
from vqa.errors import InputError
from vqa.files import atomic_write, write_jsonl

To = Literal["jsonl", "csv", "parquet", "llava", "openai"]
_BY_ENDING: dict[str, To] = {
    ".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet", ".json": "llava",
}  # fmt: skip


@dataclass(frozen=True)
class Converted:
    """What was written, or would have been: nothing is where rows are bad and not skipped."""

    rows: int
    bad: list[BadRow]
    root: Path  # the written names of pictures are relative to it
    written: bool


def format_of_name(path: Path) -> To:
    """The format that a file's ending asks for. Raises InputError."""
    if path.suffix.lower() not in _BY_ENDING:
        raise InputError(f"{path}: say what to write with --to jsonl, csv, parquet, llava, openai")
    return _BY_ENDING[path.suffix.lower()]


def convert(
    source: Path, out: Path, to: To, images: Path | None = None, skip_bad: bool = False
) -> Converted:
    """Write the rows of `source` to `out`, atomically; the rows stream, and are read twice.

    Names of pictures are written relative to the root of the pictures, which stays where it is.
    Pictures that stand in the source itself stand in a Parquet file again; for other formats they
    are copied to the folder `NAME-pictures` below the root. Raises InputError where the source is
    not known, or has no row.
    """
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"{out} is the file that is read; name another")
    root = images if images is not None else default_root(source)
    if images is None and not source.exists():  # a hub id
        root = out.parent
    bad: list[BadRow] = []
    refused: set[int] = set()  # lines
    plan = _Plan(to)

    def named(note: Callable[[BadRow], None]) -> Iterator[Example]:
        for example in read(source, root, need_answers=False, bad=note):
            yield with_names(example, root, out, inside=to == "parquet")

    rows = 0
    for example in named(bad.append):
        try:
            plan.note(example)
        except ValueError as error:
            refused.add(example.line)
            bad.append(BadRow(example.line, str(error), example.id))
        else:
            rows += 1
    if not rows and not bad:
        raise InputError(f"{source}: no rows")
    if not rows or (bad and not skip_bad):
        return Converted(rows, bad, root, written=False)
    kept = (example for example in named(lambda _: None) if example.line not in refused)
    plan.write(out, kept if to == "parquet" else copied(kept, root, out))
    return Converted(rows, bad, root, written=True)


class _Plan:
    """How rows are written, and which columns they have where that must be known before."""

    def __init__(self, to: To) -> None:
        self._to = to
        self._names: dict[str, None] = {}  # of CSV's columns, in order
        self._schema = parquet.Schema()

    def note(self, example: Example) -> None:
        """Take a row into account. Raises ValueError where the format cannot hold it."""
        if self._to == "parquet":
            self._schema.note(example)
            return
        row = self._row(example)
        if self._to == "csv":
            self._names |= dict.fromkeys(row)
        else:
            flat_json.as_json(row)

    def write(self, out: Path, examples: Iterator[Example]) -> None:
        """Write rows that were all noted."""
        if self._to == "parquet":
            parquet.write(out, examples, self._schema)
            return
        rows = map(self._row, examples)
        if self._to == "csv":
            table.write(out, rows, list(self._names))
        elif self._to == "llava":
            llava.write(out, rows)
        else:
            write_jsonl(out, rows)

    def _row(self, example: Example) -> dict[str, Any]:
        by_format: dict[To, Callable[[Example], dict[str, Any]]] = {
            "jsonl": flat_json.to_row, "csv": table.to_cells, "llava": llava.to_row,
            "openai": openai.to_row,
        }  # fmt: skip
        return by_format[self._to](example)


def with_names(example: Example, root: Path, out: Path, inside: bool) -> Example:
    """The example with the names of its pictures as they are written."""
    names: list[str | Path] = []
    for image in map(Path, example.images):
        if not image.is_relative_to(stored_directory()):
            if not image.absolute().is_relative_to(root.absolute()):  # through a link or `..`
                image, root = image.resolve(), root.resolve()
            names.append(image.absolute().relative_to(root.absolute()).as_posix())
        elif inside:
            names.append(image)
        else:
            names.append(f"{out.stem}-pictures/{image.name}")
    return replace(example, images=tuple(names))


def copied(examples: Iterator[Example], root: Path, out: Path) -> Iterator[Example]:
    """The examples; their pictures are copied from the store before each is written."""
    folder = f"{out.stem}-pictures"
    for example in examples:
        for image in example.images:
            name = Path(image).name
            target = root / folder / name
            kept = stored_directory() / name[:2] / name
            if Path(image).parent == Path(folder) and not target.exists() and kept.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(target, "wb") as file, kept.open("rb") as picture:
                    shutil.copyfileobj(picture, file)
        yield example
