"""Read safetensors headers without torch: names, dtypes, shapes, and the identity of tensors.

`safetensors.safe_open` takes headers of 100 MB (4 seconds and 600 MB for one full of metadata) and
names that stand in them twice, and gives no place of the bytes, which an identity is computed of.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vqa.errors import InputError
from vqa.utils.json_files import check_file, unique_keys

_LONGEST_HEADER = 32 << 20  # bytes; a hundred thousand tensors take half of it
_MOST_SIDES = 8  # of a tensor
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_")
_COUNTERS = ("position_ids", "num_batches_tracked")  # whole numbers beside the weights
_LARGEST = 1 << 48  # of a side, and of all parameters of a tensor


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file: `start` and `end` are its bytes' place in the file."""

    name: str
    dtype: str  # as the format writes it: BF16, F32, ...
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


def check_types(tensors: Iterable[StoredTensor]) -> None:
    """Raise InputError where weights are no floating point numbers, as parts of quantized ones are.

    torch would take each for the number itself, and answers would be noise.
    """
    for tensor in tensors:
        if not tensor.dtype.startswith(_FLOATS) and not tensor.name.endswith(_COUNTERS):
            raise InputError(
                f"{tensor.name[:200]} is stored as {tensor.dtype}, which is no type of plain "
                "weights, and config.json does not say how they are quantized"
            )


def stored_tensors(file: str | Path) -> list[StoredTensor]:
    """List the tensors of a safetensors file by name; InputError where it is none or cut short."""
    path = Path(file)
    try:
        check_file(path)
        size = path.stat().st_size
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size, _LONGEST_HEADER):
                raise ValueError
            header = json.loads(stream.read(length), object_pairs_hook=unique_keys)
        header.pop("__metadata__", None)
        tensors = []
        for name, entry in sorted(header.items()):
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            if not 8 + length <= start <= end <= size:
                raise ValueError
            if len(entry["shape"]) > _MOST_SIDES:
                raise ValueError
            shape = tuple(int(side) for side in entry["shape"])
            if not all(0 <= side <= _LARGEST for side in shape) or math.prod(shape) > _LARGEST:
                raise ValueError
            tensors.append(StoredTensor(name, str(entry["dtype"]), shape, start, end))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
            struct.error) as error:  # fmt: skip
        raise InputError(f"{path}: not a safetensors file, or cut short.") from error
    return tensors


def fingerprint_of_tensors(file: str | Path) -> str:
    """Compute the identity of the tensors in a safetensors file, however it lays them out."""
    digest = hashlib.sha256()
    with Path(file).open("rb") as stream:
        for tensor in stored_tensors(file):
            digest.update(f"{tensor.name} {tensor.dtype} {tensor.shape} ".encode())
            stream.seek(tensor.start)
            left = tensor.end - tensor.start
            while left:
                block = stream.read(min(left, 1 << 22))
                digest.update(block)
                left -= len(block)
    return digest.hexdigest()[:32]
