"""Errors of full, lost or failing disks, by any library, as one line with the user's file."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from vqa.errors import DiskError, InputError, LostFile

# full; over a quota, or larger than a file may be; a device that fails, or can no longer be written
_ERRNOS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "ENXIO", "ENODEV", "ESTALE")
    if hasattr(errno, name)
)
_RUST = re.compile(r"\(os error (\d+)\)")  # of safetensors and tokenizers
# of torch, which does not say why
_TORCH = re.compile(r"PytorchStreamWriter failed|PytorchFileWriter failed|unexpected pos \d+ vs")
_SQLITE = ("database or disk is full", "disk I/O error")


def disk_failure(error: BaseException) -> str | None:
    """Say why the disk does not take what is written; None where `error` is about another thing."""
    if isinstance(error, OSError):
        return os.strerror(error.errno or 0) if error.errno in _ERRNOS else None
    text = str(error)
    rust = _RUST.search(text)
    if rust and int(rust[1]) in _ERRNOS:
        return os.strerror(int(rust[1]))
    if isinstance(error, RuntimeError) and _TORCH.search(text):
        return "the disk is full, or the file cannot be written"
    import sqlite3  # which most commands can do without

    if isinstance(error, sqlite3.Error) and any(part in text for part in _SQLITE):
        return text
    return None


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise InputError with `path` and the reason where the block cannot read it."""
    try:
        yield
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


@contextmanager
def writing(path: str | os.PathLike[str], state: str = "") -> Iterator[None]:
    """Raise DiskError with `path`, the reason and the `state` left where the disk takes no more.

    An error that names a file elsewhere, which the block reads, stays as it is.
    """
    try:
        yield
    except Exception as error:
        why = disk_failure(error)
        if why is None or not _about(error, Path(path)):
            raise
        raise DiskError(f"Cannot write {path}: {why}{f' ({state})' if state else ''}") from error


def check_room(path: Path, size: int) -> None:
    """Raise DiskError where `size` bytes more cannot be written beside `path`.

    Asks the file system for the room, which knows of quotas, and gives it back.
    """
    beside = path.parent / f".{path.name}.{os.getpid()}.room.tmp"
    with writing(path, f"it needs about {size:,} bytes"):
        try:
            with beside.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    _allocate(file.fileno(), size)
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def check_in_place(file: IO[Any]) -> None:
    """Raise LostFile where the path that `file` was opened by leads elsewhere by now, or nowhere.

    What is written to a file that was deleted is lost without an error of the system.
    """
    path = file.name
    if not isinstance(path, str | os.PathLike):  # a descriptor, which has no place
        return
    written = os.fstat(file.fileno())
    with suppress(OSError):
        if os.path.samestat(os.stat(path), written):
            return
    if written.st_nlink == 0:
        raise LostFile(
            f"{path} was deleted while it was written, or its directory was: nothing of it is "
            "kept; the same command begins again"
        )
    raise LostFile(
        f"{path} was moved while it was written, or its directory was: what was done so far is "
        "kept where it is now; move it back, and the same command goes on"
    )


def _allocate(number: int, size: int) -> None:
    try:
        os.posix_fallocate(number, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise  # those: this file system cannot tell


def _about(error: Exception, path: Path) -> bool:
    """Return whether an error may be about `path`: it names no file, or one beside or below it."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str | os.PathLike):
        return True
    other = Path(os.fsdecode(name)).absolute()
    return other.is_relative_to(path.absolute().parent)
