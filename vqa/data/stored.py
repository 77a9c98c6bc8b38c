"""Pictures that stand inside a data file: kept as files of their own, by content."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from vqa.cache import cache_directory
from vqa.errors import InputError
from vqa.files import atomic_write

_BLOCK = 4096  # bytes that the smallest file takes on the disk, and a directory
_PIXEL = 8  # bytes at most: 16 bits in four channels
_ENDINGS = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"RIFF", ".webp"),
    (b"BM", ".bmp"),
)


@dataclass
class Budget:
    """What may still be written of a file that a stranger gave, and what is said beyond that."""

    files: int  # and directories
    size: int  # bytes
    too_many: str
    too_large: str

    def add(self) -> None:
        """Count a new file or directory, before it is made. Raises InputError."""
        self.files -= 1
        if self.files < 0:
            raise InputError(self.too_many)
        self.take(_BLOCK)

    def take(self, size: int) -> None:
        """Count bytes before they are written. Raises InputError."""
        self.size -= size
        if self.size < 0:
            raise InputError(self.too_large)


_DIRECTORY: ContextVar[Path | None] = ContextVar("stored pictures", default=None)
_BUDGET: ContextVar[Budget | None] = ContextVar("what stored pictures may take", default=None)


def stored_path(data: bytes) -> Path:
    """Where the picture `data` is kept; equal bytes have one place."""
    name = hashlib.sha256(data).hexdigest()[:32]
    ending = next((ending for start, ending in _ENDINGS if data.startswith(start)), "")
    return stored_directory() / name[:2] / f"{name}{ending}"


def store(data: bytes) -> Path:
    """Write a picture once, atomically.

    Raises InputError where the cache cannot be written. With a budget in `stored_in` also where
    that is passed, and ValueError for a picture that is too large by itself.
    """
    path = stored_path(data)
    if not path.is_file():
        budget = _BUDGET.get()
        if budget is not None:
            from vqa.images import MAX_PIXELS  # scores are told without it

            if len(data) > (most := MAX_PIXELS * _PIXEL):
                raise ValueError(f"a picture of {len(data):,} bytes; at most {most:,} are read")
            budget.add()
            budget.take(len(data))
        with atomic_write(path, "wb") as file:
            file.write(data)
    return path


def stored_directory() -> Path:
    """The folder of all stored pictures: in the cache directory, or that of `stored_in`."""
    return _DIRECTORY.get() or cache_directory() / "pictures"


@contextmanager
def stored_in(directory: Path, budget: Budget | None = None) -> Iterator[None]:
    """Keep pictures of the data that this thread reads in `directory`, to be deleted with it.

    With a `budget`, no more than that is written.
    """
    before, unlimited = _DIRECTORY.set(directory), _BUDGET.set(budget)
    try:
        yield
    finally:
        _DIRECTORY.reset(before)
        _BUDGET.reset(unlimited)


def from_data_url(url: str) -> bytes:
    """The bytes of a `data:` URL. Raises ValueError where it is not base64."""
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise ValueError("a data: URL must be base64, as data:image/png;base64,...")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a data: URL is not base64") from None
