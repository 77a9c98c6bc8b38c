"""Convert any format that is read into one of those that are written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vqa.data.embedded_pictures import picture_store
from vqa.data.example import Example
from vqa.data.formats import flat_json, llava_json, openai, parquet, table
from vqa.data.reading import default_root
from vqa.data.row_reader import BadRow, Notice
from vqa.data.usable_rows import UsableRows
from vqa.errors import InputError
from vqa.utils.files import atomic_write, write_jsonl

To = Literal["jsonl", "csv", "parquet", "llava", "openai"]
_BY_ENDING: dict[str, To] = {
    ".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet", ".json": "llava",
}  # fmt: skip


@dataclass(frozen=True)
class Converted:
    """The rows that were written, or would be: none are where rows are bad and not skipped."""

    rows: int
    left_out: int  # rows
    bad: list[BadRow]  # why; a picture that cannot be opened comes once
    root: Path  # the written names of pictures are relative to it
    written: bool
    ids_as_texts: bool = False  # ids that are numbers are written as texts, as the format asks for


def format_of_name(path: Path) -> To:
    """Return the format that a file's ending means. Raises InputError."""
    if path.suffix.lower() not in _BY_ENDING:
        raise InputError(f"{path}: say what to write with `to` jsonl, csv, parquet, llava, openai")
    return _BY_ENDING[path.suffix.lower()]


def convert(
    source: Path,
    out: Path,
    to: To,
    images: Path | None = None,
    skip_bad: bool = False,
    notice: Callable[[Notice], None] = lambda notice: None,
) -> Converted:
    """Write the rows of `source` to `out`, atomically; the rows stream, and are read twice.

    Names of pictures are written relative to the root of the pictures, which stays where it is.
    Pictures that stand in the source itself stand in a Parquet file again; for other formats they
    are copied to the folder `NAME-pictures` below the root. Ids are written as they are made
    unique, for which `notice` is called. With `skip_bad` every picture is opened, and rows whose
    picture is missing or broken are bad rows too. Raises InputError where the source is not known,
    or has no row.
    """
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"{out} is the file that is read; name another")
    root = images if images is not None else default_root(source)
    if images is None and not source.exists():  # a hub id
        root = out.parent
    plan = _Plan(to)

    def named(example: Example) -> Example:
        return with_names(example, root, out, inside=to == "parquet")

    rows = UsableRows(
        source, root, need_answers=False, open_pictures=skip_bad, notice=notice,
        check=lambda example: plan.note(named(example)),
    )  # fmt: skip
    if not rows and not rows.bad:
        raise InputError(f"{source}: no rows")
    if not rows or (rows.bad and not skip_bad):
        return Converted(len(rows), rows.left_out, rows.bad, root, written=False)
    examples = map(named, rows)
    plan.write(out, examples if to == "parquet" else copy_pictures(examples, root, out))
    return Converted(len(rows), rows.left_out, rows.bad, root, True, plan.ids_as_texts)


class _Plan:
    """How rows are written, and which columns they have where that must be known before."""

    def __init__(self, to: To) -> None:
        self._to = to
        self._names: dict[str, None] = {}  # of CSV's columns, in order
        self._schema = parquet.SchemaBuilder()

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
            llava_json.write(out, rows)
        else:
            write_jsonl(out, rows)

    @property
    def ids_as_texts(self) -> bool:
        """Return whether ids that are numbers become texts."""
        return self._to == "parquet" and self._schema.numbers_as_texts

    def _row(self, example: Example) -> dict[str, Any]:
        by_format: dict[To, Callable[[Example], dict[str, Any]]] = {
            "jsonl": flat_json.to_row, "csv": table.to_cells, "llava": llava_json.to_row,
            "openai": openai.to_row,
        }  # fmt: skip
        return by_format[self._to](example)


def with_names(example: Example, root: Path, out: Path, inside: bool) -> Example:
    """Replace the pictures of an example by their names as they are written."""
    names: list[str | Path] = []
    for image in map(Path, example.images):
        if not image.is_relative_to(picture_store()):
            if not image.absolute().is_relative_to(root.absolute()):  # through a link or `..`
                image, root = image.resolve(), root.resolve()
            names.append(image.absolute().relative_to(root.absolute()).as_posix())
        elif inside:
            names.append(image)
        else:
            names.append(f"{out.stem}-pictures/{image.name}")
    return replace(example, images=tuple(names))


def copy_pictures(examples: Iterator[Example], root: Path, out: Path) -> Iterator[Example]:
    """Yield the examples, each once its pictures are copied from the store."""
    folder = f"{out.stem}-pictures"
    for example in examples:
        for image in example.images:
            name = Path(image).name
            target = root / folder / name
            stored = picture_store() / name[:2] / name
            if Path(image).parent == Path(folder) and not target.exists() and stored.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(target, "wb") as file, stored.open("rb") as picture:
                    shutil.copyfileobj(picture, file)
        yield example
