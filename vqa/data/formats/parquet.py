"""Parquet: flat rows or conversations; pictures as paths, or inside as `{bytes, path}`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa.data.columns import Columns
from vqa.data.example import Example
from vqa.data.formats import flat_json
from vqa.data.formats.by_row import read_rows
from vqa.data.formats.look import Seen
from vqa.data.rows import Wanted
from vqa.data.stored import stored_directory
from vqa.errors import InputError
from vqa.files import atomic_write

if TYPE_CHECKING:
    import pyarrow

NAME = "Parquet"
_AT_ONCE = 64  # rows; they may hold their pictures
_WRITTEN_AT_ONCE = 1000


def sniff(seen: Seen) -> bool:
    """The four bytes that Parquet begins with."""
    return seen.kind == "parquet"


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """Rows by their number. Raises InputError where the file is damaged."""
    return read_rows(_rows(seen.path), wanted)


def _rows(path: Path) -> Iterator[Columns]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_AT_ONCE):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: damaged Parquet ({' '.join(str(error).split())})") from error


class Schema:
    """Gathers from all rows which columns there are and of what kind.

    A column of one kind (texts, numbers, lists of texts) keeps it; others are written as JSON text.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, set[str]] = {}
        self._id: type | None = None
        self._inside = False  # whether pictures stand in the file

    def note(self, example: Example) -> None:
        """Take a row into account. Raises ValueError where Parquet cannot hold it."""
        if self._id is None:
            self._id = type(example.id)
        if type(example.id) is not self._id:
            raise ValueError("the id is a text and others numbers, or the other way round")
        if isinstance(example.id, int) and not -(1 << 63) <= example.id < 1 << 63:
            raise ValueError("the id is too large for Parquet")
        self._inside |= any(map(_is_stored, example.images))
        for name, value in example.extra.items():
            if value is not None:
                self._kinds.setdefault(name, set()).add(_kind(value))
        _check_text(flat_json.to_row(example))

    def row(self, example: Example) -> Columns:
        """The values of a row, as `arrow` has their types."""
        images: list[Any] = [Path(image).as_posix() for image in example.images]
        if self._inside:
            images = [_image(Path(image)) for image in example.images]
        flat = flat_json.to_row(example)
        row: Columns = {
            "id": example.id,
            "images": images,
            "question": example.question,
            "answers": list(example.answers) or None,
            "earlier": flat.get("earlier"),
            "system": example.system or None,
        }
        return row | {name: self._value(name, value) for name, value in example.extra.items()}

    def arrow(self) -> pyarrow.Schema:
        """The types of the columns."""
        import pyarrow as pa

        text = pa.string()
        picture = pa.struct([("bytes", pa.binary()), ("path", text)]) if self._inside else text
        turn = pa.struct(
            [
                ("question", text),
                ("answer", text),
                ("pictures", pa.int64()),
                ("learned", pa.bool_()),
            ]
        )
        kinds = {
            "text": text, "flag": pa.bool_(), "number": pa.int64(), "decimal": pa.float64(),
            "texts": pa.list_(text),
        }  # fmt: skip
        known = [
            ("id", pa.int64() if self._id is int else text), ("images", pa.list_(picture)),
            ("question", text), ("answers", pa.list_(text)), ("earlier", pa.list_(turn)),
            ("system", text),
        ]  # fmt: skip
        others = [(name, kinds.get(self._only(name), text)) for name in self._kinds]
        return pa.schema(known + others)

    def _only(self, name: str) -> str:
        found = self._kinds.get(name, set())
        return next(iter(found)) if len(found) == 1 else "json"

    def _value(self, name: str, value: Any) -> Any:
        if value is None or self._only(name) != "json" or isinstance(value, str):
            return value
        return flat_json.as_json(value)


def write(path: Path, examples: Iterable[Example], schema: Schema) -> None:
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
    return Path(image).is_relative_to(stored_directory())


def _image(path: Path) -> dict[str, Any]:
    if _is_stored(path):
        return {"bytes": path.read_bytes(), "path": path.name}
    return {"bytes": None, "path": path.as_posix()}
