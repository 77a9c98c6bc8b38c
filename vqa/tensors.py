"""What is in safetensors files, read without torch: names, types, shapes, and their identity."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from vqa.errors import InputError

_LONGEST_HEADER = 100_000_000  # bytes, as the format's own readers allow


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


def stored_tensors(file: str | Path) -> list[StoredTensor]:
    """List the tensors of a safetensors file by name; InputError where it is none or cut short."""
    path = Path(file)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size, _LONGEST_HEADER):
                raise ValueError
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        tensors = []
        for name, entry in sorted(header.items()):
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            if not start <= end <= size:
                raise ValueError
            shape = tuple(int(side) for side in entry["shape"])
            tensors.append(StoredTensor(name, str(entry["dtype"]), shape, start, end))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise InputError(f"{path}: not a safetensors file, or cut short.") from error
    return tensors


def fingerprint_of_tensors(file: str | Path) -> str:
    """Identity of the tensors in a safetensors file, however the file lays them out."""
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
