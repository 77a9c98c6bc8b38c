"""Pictures that stand inside a data file: kept as files of their own, by content."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from vqa.cache import cache_directory
from vqa.files import atomic_write

_DIRECTORY: ContextVar[Path | None] = ContextVar("stored pictures", default=None)
_ENDINGS = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"RIFF", ".webp"),
    (b"BM", ".bmp"),
)


def stored_path(data: bytes) -> Path:
    """Where the picture `data` is kept; equal bytes have one place."""
    name = hashlib.sha256(data).hexdigest()[:32]
    ending = next((ending for start, ending in _ENDINGS if data.startswith(start)), "")
    return stored_directory() / name[:2] / f"{name}{ending}"


def store(data: bytes) -> Path:
    """Write a picture once, atomically. Raises InputError where the cache cannot be written."""
    path = stored_path(data)
    if not path.is_file():
        with atomic_write(path, "wb") as file:
            file.write(data)
    return path


def stored_directory() -> Path:
    """The folder of all stored pictures: in the cache directory, or that of `stored_in`."""
    return _DIRECTORY.get() or cache_directory() / "pictures"


@contextmanager
def stored_in(directory: Path) -> Iterator[None]:
    """Keep pictures of the data that this thread reads in `directory`, to be deleted with it."""
    token = _DIRECTORY.set(directory)
    try:
        yield
    finally:
        _DIRECTORY.reset(token)


def from_data_url(url: str) -> bytes:
    """The bytes of a `data:` URL. Raises ValueError where it is not base64."""
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise ValueError("a data: URL must be base64, as data:image/png;base64,...")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a data: URL is not base64") from None
