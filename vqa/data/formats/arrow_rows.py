"""Rows of Arrow's tables as Python values, each one measured before it is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from vqa.data.example import Columns
from vqa.data.row_limits import ROW, check_values, too_long

if TYPE_CHECKING:
    import pyarrow


def rows_of(batch: pyarrow.RecordBatch, validated: bool = True) -> Iterator[Columns | ValueError]:
    """Yield each row, or what is wrong with it.

    A batch that is not `validated` stands in its file as in memory, where nobody has checked its
    offsets and texts: that is done first.
    """
    try:
        if not validated:
            batch.validate(full=True)
        _check(batch)
        rows = batch.to_pylist()
    except (ValueError, OverflowError, RecursionError):  # in one of them: build them one by one
        for place in range(batch.num_rows):
            yield _row(batch.slice(place, 1), validated)
    else:
        yield from rows


def _row(batch: pyarrow.RecordBatch, validated: bool) -> Columns | ValueError:
    row: Columns = {}
    try:
        if not validated:
            batch.validate()  # of its texts each says below whether it is one
        _check(batch)
    except ValueError as error:
        return ValueError(" ".join(str(error).split()))
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            (row[name],) = column.to_pylist()
        except UnicodeDecodeError:
            return ValueError(f"column {name}: not UTF-8")
        except RecursionError:
            return ValueError(f"column {name}: too deep")
        except (ValueError, OverflowError) as error:
            return ValueError(f"column {name} cannot be read ({' '.join(str(error).split())})")
    return row


def _check(batch: pyarrow.RecordBatch) -> None:
    """Raise ValueError where the rows together are larger than one may be."""
    sizes = [_size(column) for column in batch.columns]
    if sum(size for size, _ in sizes) > ROW:
        raise too_long()
    check_values(sum(values for _, values in sizes))


def _size(column: pyarrow.Array) -> tuple[int, int]:
    """Bytes and number of the values of a column, as they are once built."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return _size(column.storage)
    if pa.types.is_dictionary(kind):
        if not len(column.dictionary) or not _is_text(kind.value_type):
            return column.nbytes, len(column)
        lengths = pc.binary_length(column.dictionary).take(column.indices)
        return int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0), len(column)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _viewed(column), len(column)
    if pa.types.is_struct(kind):
        inner = [_size(field) for field in column.flatten()]
    elif (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ):
        inner = [_size(column.flatten())]
    elif pa.types.is_map(kind):
        first, last = column.offsets[0].as_py(), column.offsets[len(column)].as_py()
        inner = [_size(part.slice(first, last - first)) for part in (column.keys, column.items)]
    else:
        return column.nbytes, len(column)
    return sum(size for size, _ in inner), len(column) + sum(values for _, values in inner)


def _viewed(column: pyarrow.Array) -> int:
    """Bytes of texts that are views of a buffer: many may show the same part of it."""
    lengths = np.frombuffer(column.buffers()[1], np.int32)[::4]  # of 16 bytes each, the first four
    return int(lengths[column.offset : column.offset + len(column)].sum(dtype=np.int64))


def _is_text(kind: pyarrow.DataType) -> bool:
    import pyarrow as pa

    return any(
        is_of(kind)
        for is_of in (
            pa.types.is_string, pa.types.is_large_string, pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )  # fmt: skip
