"""Plan how a row group of a Parquet file is read, from the headers of its pages.

A file's own metadata may lie; its pages are what a reader unpacks. A page of some kilobytes may
unpack to gigabytes, and one text in a dictionary may stand in every row. Arrow allocates for both
before it can be asked how much that is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow.parquet

_PAGE = 64 << 20  # bytes of a page that any file may have
_GROUP = 512 << 20  # bytes of those pages of all columns that are in memory together
_RATIO = 20  # bytes that may come out of each that went in, beyond that: of pictures 1
_VALUES = 32 << 20  # of a column of lists in one group: a row may have them all
_VALUES_PER_BYTE = 8
_BATCH = 128 << 20  # bytes of rows that are read at once, at worst
_ROWS = 64  # of them; they may hold their pictures
_TEXT = 1 << 20  # bytes: writers end their dictionaries there
_LISTS = 1 << 30  # bytes of the texts of a column of lists, at worst
_HEAD, _LONGEST_HEAD = 1 << 10, 16 << 20  # bytes of a page's header
_DELTA = 7  # encoding: each text goes on from the one before
_DEEPEST = 8


@dataclass(frozen=True)
class ReadPlan:
    """How a row group is read."""

    rows: int  # at once
    dictionaries: frozenset[str]  # columns whose texts stay in their dictionary


@dataclass(frozen=True)
class ColumnChunk:
    """Where the pages of one column in one row group lie."""

    start: int
    size: int  # bytes, packed


def row_groups(file: IO[bytes]) -> Iterator[list[ColumnChunk]]:
    """Yield the chunks of each row group, from the file's table of contents.

    pyarrow's own object of a chunk ends the whole process where some of this is damaged: it checks
    statistics in C++ that throws where nothing catches. Raises ValueError for damage.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(0, size - 8 - length))
    reader = _Compact(file.read(length))
    try:
        for number, kind in reader.fields():
            if number != 4:
                reader.skip(kind)
                continue
            for _ in range(reader.items(kind)):
                yield [_chunk(column) for column in reader.struct(0).get(1) or ()]
            return
    except IndexError:
        raise ValueError("damaged Parquet (its table of contents ends too early)") from None


def _chunk(column: dict[int, Any]) -> ColumnChunk:
    about = column.get(3)
    about = about if isinstance(about, dict) else {}
    start, size, dictionary = about.get(9), about.get(7), about.get(11)
    if not isinstance(start, int) or not isinstance(size, int) or start < 0 or size < 0:
        raise ValueError("damaged Parquet (a column without its place)")
    if isinstance(dictionary, int) and 0 < dictionary < start:
        start = dictionary
    return ColumnChunk(start, size)


def plan_reading(
    metadata: pyarrow.parquet.FileMetaData, group: int, chunks: list[ColumnChunk], file: IO[bytes]
) -> ReadPlan:
    """Go through the pages of a row group. Raises ValueError where they would take too much."""
    rows = metadata.row_group(group).num_rows
    if len(chunks) != metadata.num_columns:
        raise ValueError("damaged Parquet (a row group without some of the columns)")
    together = packed = repeated = 0
    dictionaries: set[str] = set()
    for place, chunk in enumerate(chunks):
        column = metadata.schema.column(place)
        name, lists = column.path, column.max_repetition_level > 0
        dictionary = data = values = copied = 0
        for page in _pages(chunk, file):
            if page.unpacked > max(_PAGE, _RATIO * page.packed):
                raise ValueError(
                    f"column {name} unpacks to {page.unpacked:,} bytes from {page.packed:,}"
                )
            values += page.values
            if page.is_dictionary:
                dictionary = copied = max(dictionary, page.unpacked)
            else:
                data = max(data, page.unpacked)
                copied = max(copied, page.unpacked if page.encoding == _DELTA else 0)
        together += dictionary + data
        packed += chunk.size
        if lists and values > _VALUES + _VALUES_PER_BYTE * chunk.size:
            raise ValueError(f"column {name} has {values:,} values in {rows:,} rows")
        if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
            copied = column.length
            if lists and copied * values > _LISTS:
                raise ValueError(f"column {name} has {copied * values:,} bytes")
        elif column.physical_type != "BYTE_ARRAY":
            continue
        many = copied * values > _LISTS if lists else copied > _TEXT
        if many and dictionary and ".key_value." not in name:
            dictionaries.add(name)
        else:
            repeated += copied
    if together > max(_GROUP, _RATIO * packed):
        raise ValueError(f"its pages unpack to {together:,} bytes from {packed:,}")
    return ReadPlan(max(1, min(_ROWS, _BATCH // max(1, repeated))), frozenset(dictionaries))


@dataclass(frozen=True)
class _Page:
    packed: int  # bytes
    unpacked: int
    values: int
    encoding: int
    is_dictionary: bool


def _pages(chunk: ColumnChunk, file: IO[bytes]) -> Iterator[_Page]:
    """Yield the headers of the pages of one column in one row group."""
    at = chunk.start
    end = at + chunk.size
    while at < end:
        header, length = _header(file, at, end)
        packed, unpacked = header.get(3), header.get(2)
        if not isinstance(packed, int) or not isinstance(unpacked, int) or packed < 0:
            raise ValueError("damaged Parquet (a page without its size)")
        about: dict[int, Any] = {}
        for kind in (5, 7, 8):  # a page of data, a dictionary, a page of data of the second version
            about = header[kind] if isinstance(header.get(kind), dict) else about
        encoding = about.get(4 if 8 in header else 2, 0)
        values = 0 if 7 in header else about.get(1, 0)
        if not isinstance(values, int):
            raise ValueError("damaged Parquet (a page without its number of values)")
        yield _Page(packed, unpacked, values, encoding, 7 in header)
        at += length + packed


def _header(file: IO[bytes], at: int, end: int) -> tuple[dict[int, Any], int]:
    size = _HEAD
    while True:
        file.seek(at)
        data = file.read(min(size, end - at))
        try:
            reader = _Compact(data)
            return reader.struct(0), reader.at
        except IndexError:
            if len(data) < size or size >= _LONGEST_HEAD:
                raise ValueError("damaged Parquet (the header of a page does not end)") from None
        size *= 16


class _Compact:
    """Reads a struct in Thrift's compact protocol: numbers, structs and lists of them by field.

    Texts and lists of anything else are left out.

    Raises IndexError where the data ends too early, ValueError where it is damaged.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _DEEPEST:
            raise ValueError("damaged Parquet (too deep)")
        return {number: self._value(kind, depth) for number, kind in self.fields()}

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field, whose value is to be read before the next."""
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._whole()
            yield number, kind & 15

    def skip(self, kind: int) -> None:
        """Leave out a value."""
        self._value(kind, 0)

    def items(self, kind: int) -> int:
        """Begin to read a list of structs; return their number."""
        head = self._byte() if kind in (9, 10) else 0
        if head & 15 != 12:
            raise ValueError("damaged Parquet (no list of structs)")
        return head >> 4 if head >> 4 < 15 else self._varint()

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._whole()
        if kind in (7, 8):
            self._skip(8 if kind == 7 else self._varint())
        elif kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            structs = []
            for _ in range(count):
                if self.at >= len(self._data):
                    raise IndexError
                if head & 15 in (1, 2):
                    self._byte()
                elif head & 15 == 12:
                    structs.append(self.struct(depth + 1))
                else:
                    self._value(head & 15, depth + 1)
            return structs
        elif kind == 12:
            return self.struct(depth + 1)
        else:
            raise ValueError("damaged Parquet (the header of a page)")
        return None

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("damaged Parquet (a number that does not end)")

    def _whole(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
