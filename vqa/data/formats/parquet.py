"""Parquet: flat rows or conversations; pictures as paths, or inside as `{bytes, path}`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vqa.data.embedded_pictures import picture_store
from vqa.data.example import PLACES, Columns, Example
from vqa.data.formats import flat_json
from vqa.data.formats.arrow_rows import rows_of
from vqa.data.formats.class_labels import ClassLabels
from vqa.data.formats.parquet_pages import ColumnChunk, plan_reading, row_groups
from vqa.data.formats.probe import FileProbe
from vqa.data.formats.table_rows import read_rows
from vqa.data.row_limits import check_json
from vqa.data.row_reader import NumberedRow, ReadOptions
from vqa.errors import InputError
from vqa.utils.files import atomic_write

if TYPE_CHECKING:
    import pyarrow

NAME = "Parquet"
_FEW_ROWS, _ROWS_PER_BYTE = 100_000, 100  # that a file can have: a row of nothing takes no space
_FOOTER = 64 << 20  # bytes of the table of contents
_FOOTER_TEXT, _FOOTER_ITEMS = 16 << 20, 1 << 20  # bytes of one text in it, items of one list
_WRITTEN_AT_ONCE = 1000
_JSON = b"vqa.json"  # marks a column whose values are JSON


def sniff(probe: FileProbe) -> bool:
    """Recognise the four bytes that Parquet begins with."""
    return probe.kind == "parquet"


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read rows by their number. Raises InputError where the file is damaged."""
    return read_rows(_rows(probe.path), options)


def _rows(path: Path) -> Iterator[NumberedRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as pages, _opened(path, pages) as file:
            size = pages.seek(0, os.SEEK_END)
            if file.metadata.num_rows > _FEW_ROWS + _ROWS_PER_BYTE * size:
                raise InputError(f"{path}: it says that {file.metadata.num_rows:,} rows are in "
                                 f"{size:,} bytes")  # fmt: skip
            written_as_json = [
                field.name for field in file.schema_arrow if (field.metadata or {}).get(_JSON)
            ]
            classes = ClassLabels.of_metadata(file.schema_arrow.metadata)
            number = 0
            chunks = row_groups(pages)
            for group in range(file.num_row_groups):
                last = number + file.metadata.row_group(group).num_rows
                try:
                    for row in _group_rows(path, file, group, next(chunks, []), pages):
                        number += 1
                        row = classes.named(row)
                        if isinstance(row, dict):
                            row |= {name: _of_json(row[name]) for name in written_as_json}
                        yield number, row
                except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
                    what = " ".join(str(error).split())
                    if not isinstance(error, ValueError) or isinstance(error, pyarrow.ArrowInvalid):
                        what = f"damaged Parquet ({what})"
                    rows = f" (and all rows up to {last})" if last > number + 1 else ""
                    yield number + 1, ValueError(f"{what}{rows}")
                number = last
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: damaged Parquet ({' '.join(str(error).split())})") from error


def _opened(
    path: Path, file: IO[bytes], dictionaries: Iterable[str] = ()
) -> pyarrow.parquet.ParquetFile:
    """Open a file; of the columns `dictionaries` the texts stay in their dictionary."""
    import pyarrow.parquet

    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    footer = int.from_bytes(file.read(4), "little")
    if file.read(4) == b"PAR1" and footer > min(size, _FOOTER):
        raise OSError(f"its table of contents has {footer:,} bytes")
    return pyarrow.parquet.ParquetFile(
        path,
        read_dictionary=sorted(dictionaries) or None,
        thrift_string_size_limit=_FOOTER_TEXT,
        thrift_container_size_limit=_FOOTER_ITEMS,
        page_checksum_verification=True,
    )


def _group_rows(
    path: Path,
    file: pyarrow.parquet.ParquetFile,
    group: int,
    chunks: list[ColumnChunk],
    pages: IO[bytes],
) -> Iterator[Columns | ValueError]:
    """Yield the rows of a row group. Raises ValueError where they would take too much."""
    plan = plan_reading(file.metadata, group, chunks, pages)
    with ExitStack() as stack:
        if plan.dictionaries:
            file = stack.enter_context(_opened(path, pages, plan.dictionaries))
        for batch in file.iter_batches(plan.rows, row_groups=[group]):
            yield from rows_of(batch)


class SchemaBuilder:
    """Gathers from all rows which columns there are and of what kind.

    A column of one kind (texts, numbers, lists of texts) keeps it; others are written as JSON text,
    and marked, so that their values are read again as they were.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, set[str]] = {}
        self._ids: set[str] = set()  # kinds of ids
        self._inside = False  # whether pictures stand in the file
        self._shared: set[str] = set()  # known columns that some rows have of another meaning
        self._placed = False  # whether pictures stand in texts

    def note(self, example: Example) -> None:
        """Take a row into account. Raises ValueError where Parquet cannot hold it."""
        kind = _kind_of_id(example.id)
        if {kind, *self._ids} >= {"text", "number"}:
            raise ValueError("the id is a text and others numbers, or the other way round")
        if isinstance(example.id, int) and not -(1 << 63) <= example.id < 1 << 63:
            raise ValueError("the id is too large for Parquet")
        self._ids.add(kind)
        self._inside |= any(map(_is_stored, example.images))
        # a row may have columns of these names that mean something else: then both stand in one
        self._shared |= example.extra.keys() & {"system", "learned"}
        self._placed |= bool(example.places) or any(turn.places for turn in example.earlier)
        for name, value in (_optional(example) | example.extra).items():
            if value is not None:
                self._kinds.setdefault(name, set()).add(_kind(value))
        _check_text(flat_json.to_row(example))

    @property
    def numbers_as_texts(self) -> bool:
        """Return whether ids that are numbers are written as texts: a column has one type."""
        return self._ids >= {"number", "made"}

    def row(self, example: Example) -> Columns:
        """Return the values of a row, as `arrow` has their types."""
        images: list[Any] = [Path(image).as_posix() for image in example.images]
        if self._inside:
            images = [_image(Path(image)) for image in example.images]
        flat = flat_json.to_row(example)
        row: Columns = {
            "id": example.id if self._ids == {"number"} else str(example.id),
            "images": images,
            "question": example.question,
            "answers": list(example.answers) or None,
            "earlier": flat.get("earlier"),
            PLACES: flat.get(PLACES),
        }
        optional = _optional(example)
        if "learned" not in self._shared:
            optional["learned"] = example.in_loss
        return row | {name: self._value(name, v) for name, v in (optional | example.extra).items()}

    def arrow(self) -> pyarrow.Schema:
        """Return the types of the columns."""
        import pyarrow as pa

        text = pa.string()
        picture = pa.struct([("bytes", pa.binary()), ("path", text)]) if self._inside else text
        # rows without places are written as ever
        places = [(PLACES, pa.list_(pa.int64()))] if self._placed else []
        turn = pa.struct(
            [
                ("question", text),
                ("answer", text),
                ("pictures", pa.int64()),
                ("learned", pa.bool_()),
                *places,
            ]
        )
        kinds = {
            "text": text, "flag": pa.bool_(), "number": pa.int64(), "decimal": pa.float64(),
            "texts": pa.list_(text),
        }  # fmt: skip
        known = [
            ("id", pa.int64() if self._ids == {"number"} else text), ("images", pa.list_(picture)),
            ("question", text), ("answers", pa.list_(text)), ("earlier", pa.list_(turn)),
            *([] if "system" in self._kinds else [("system", text)]), *places,
        ]  # fmt: skip
        fields = [pa.field(name, kind) for name, kind in known]
        for name in self._kinds:
            kind = kinds.get(self._kind_of(name))
            mark = None if kind is not None else {_JSON: b"1"}
            fields.append(pa.field(name, text if kind is None else kind, metadata=mark))
        return pa.schema(fields)

    def _kind_of(self, name: str) -> str:
        kinds = self._kinds.get(name, set())
        return next(iter(kinds)) if len(kinds) == 1 else "json"

    def _value(self, name: str, value: Any) -> Any:
        if value is None or self._kind_of(name) != "json":
            return value
        is_plain = isinstance(value, str) and _of_json(value) == value
        return value if is_plain else flat_json.as_json(value)


def write(path: Path, examples: Iterable[Example], schema: SchemaBuilder) -> None:
    """Write examples that `schema` has noted, atomically."""
    import pyarrow as pa
    import pyarrow.parquet

    types = schema.arrow()
    with atomic_write(path, "wb") as file, pyarrow.parquet.ParquetWriter(file, types) as writer:
        rows: list[Columns] = []
        for example in examples:
            rows.append(schema.row(example))
            if len(rows) == _WRITTEN_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(rows, types))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, types))


def _optional(example: Example) -> Columns:
    """Return what only some rows have in columns by which others may mean something else."""
    system = {"system": example.system} if example.system else {}
    return system | ({} if example.in_loss else {"learned": False})


def _of_json(text: Any) -> Any:
    """Parse a cell that holds JSON; return a text that is none as it is."""
    try:
        if isinstance(text, str):
            check_json(text)
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text


def _kind_of_id(key: str | int) -> str:
    if isinstance(key, int):
        return "number"
    return "made" if re.fullmatch("-?[0-9]+#[0-9]+", key) else "text"  # 7#2: of a number's rows


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int):
        return "number" if -(1 << 63) <= value < 1 << 63 else "json"
    if isinstance(value, float):
        return "decimal"
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "texts"
    return "json"


def _check_text(value: Any) -> None:
    try:
        flat_json.as_json(value).encode()
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate, which Parquet cannot hold") from None


def _is_stored(image: str | Path) -> bool:
    return Path(image).is_relative_to(picture_store())


def _image(path: Path) -> dict[str, Any]:
    if _is_stored(path):
        return {"bytes": path.read_bytes(), "path": path.name}
    return {"bytes": None, "path": path.as_posix()}
