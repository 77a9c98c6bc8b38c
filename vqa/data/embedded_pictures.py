"""Pictures that stand inside a data file: stored as files of their own, by content."""

from __future__ import annotations

import base64
import binascii
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from vqa.errors import InputError
from vqa.inputs import signatures
from vqa.utils.cache import cache_dir
from vqa.utils.files import atomic_write

_BLOCK = 4096  # bytes that the smallest file takes on the disk, and a directory
_PIXEL = 8  # bytes at most: 16 bits in four channels
# How JPEG, PNG, GIF, WebP and BMP begin in base64.
_BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "Qk0", "Qk1", "Qk2", "Qk3")
_SHORTEST = 100  # characters of a picture in base64


@dataclass
class DiskQuota:
    """What may still be written of a file that a stranger gave, and the messages beyond that."""

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
_QUOTA: ContextVar[DiskQuota | None] = ContextVar("what stored pictures may take", default=None)


def picture_path(data: bytes) -> Path:
    """Return where the picture `data` is stored; equal bytes have one place."""
    name = hashlib.sha256(data).hexdigest()[:32]
    known = signatures.detect_format(data[: signatures.HEAD_BYTES])
    ending = known.endings[0] if known is not None else ""
    return picture_store() / name[:2] / f"{name}{ending}"


def store_picture(data: bytes) -> Path:
    """Write a picture once, atomically; a file that has become another is written again.

    Raises InputError where the cache cannot be written, or a quota of `store_pictures_in` is
    passed; with a quota ValueError for a picture that is too large by itself.
    """
    path = picture_path(data)
    if not _holds(path, data):
        quota = _QUOTA.get()
        if quota is not None:
            from vqa.inputs.images import MAX_PIXELS  # slow to import, and not needed for scores

            if len(data) > (most := MAX_PIXELS * _PIXEL):
                raise ValueError(f"a picture of {len(data):,} bytes; at most {most:,} are read")
            quota.add()
            quota.take(len(data))
        with atomic_write(path, "wb") as file:
            file.write(data)
    return path


def _holds(path: Path, data: bytes) -> bool:
    """Return whether the file is there and holds `data`, as its name says; report a damaged one."""
    try:
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return True
    except FileNotFoundError:
        return False
    except OSError:
        pass
    print(f"vqa: {path} is damaged; it is written again", file=sys.stderr, flush=True)
    return False


def picture_store() -> Path:
    """Return the folder of stored pictures: in the cache directory, or of `store_pictures_in`."""
    return _DIRECTORY.get() or cache_dir() / "pictures"


@contextmanager
def store_pictures_in(directory: Path, quota: DiskQuota | None = None) -> Iterator[None]:
    """Store pictures of the data that this thread reads in `directory`, to be deleted with it.

    With a `quota`, no more than that is written.
    """
    directory_token, quota_token = _DIRECTORY.set(directory), _QUOTA.set(quota)
    try:
        yield
    finally:
        _DIRECTORY.reset(directory_token)
        _QUOTA.reset(quota_token)


def from_data_url(url: str) -> bytes:
    """Decode the bytes of a `data:` URL. Raises ValueError where it is not base64."""
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise ValueError("a data: URL must be base64, as data:image/png;base64,...")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a data: URL is not base64") from None


def is_like_base64(text: str) -> bool:
    """Return whether a text begins as a picture in base64 does, and is as long as one."""
    return len(text) > _SHORTEST and text.lstrip().startswith(_BASE64)


def from_base64(text: str) -> bytes | None:
    """Decode a picture that stands in a file as base64 alone; None for any other text."""
    if not is_like_base64(text):
        return None
    try:
        data = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if signatures.detect_format(data[: signatures.HEAD_BYTES]) is not None else None
