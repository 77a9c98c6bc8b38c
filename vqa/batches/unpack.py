"""The door for zip files of strangers: only regular files come out, and only into one folder."""

from __future__ import annotations

import os
import shutil
import stat
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from vqa.data.embedded_pictures import DiskQuota
from vqa.data.picture_files import is_of_the_system
from vqa.errors import InputError

_PIECE = 1 << 20  # bytes
_TABLE = 16 << 20  # bytes of the list of contents, which the library reads at once
_MOST_NAME = 1000  # characters
_MOST_PARTS = 20  # folders of a name, and the file
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for gigabytes of memory
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of an entry


@dataclass(frozen=True)
class ZipLimits:
    """What may come out of a zip file, or of another that holds pictures."""

    files: int = 50_000  # and folders
    size: int = 4 << 30  # bytes of all files
    ratio: int = 200  # bytes that may come out of each that went in; photos reach 1 to 50
    free: int = 1 << 30  # bytes that stay free on the disk

    def quota(self, name: str, packed: int, folder: Path) -> DiskQuota:
        """Limit what comes out of `packed` bytes into `folder`; messages call them `name`."""
        most = min(self.size, _PIECE + packed * self.ratio)
        free = shutil.disk_usage(folder).free - self.free
        too_large = (
            f"{name} unpacks to more than can be taken: at most {self.size / 1e9:.1f} GB, and "
            f"{self.ratio} times its own size."
        )
        if free < most:
            too_large = f"The disk of this server is too full to unpack {name}."
        too_many = f"{name} holds more than can be taken: at most {self.files} files and folders."
        return DiskQuota(self.files, min(most, free), too_many, too_large)


class _Careful:
    """A file that refuses to be read in pieces that are too large for memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        most = _TABLE if size is None or size < 0 else size
        if most > _TABLE:
            raise zipfile.BadZipFile("its list of contents is too long")
        return self._file.read(most)


def unpack(file: IO[bytes], name: str, folder: Path, limits: ZipLimits) -> int:
    """Write the files of a zip file into the new `folder`; how many there were.

    `name` is what messages call it. Sizes are counted as bytes come out: headers may lie. Raises
    InputError for a path that leaves the folder, for links, encryption and damage, for the same
    name twice, and beyond `limits`; what has been written then is for the caller to remove.
    """
    try:
        packed = file.seek(0, 2)
        with zipfile.ZipFile(_Careful(file)) as archive:  # type: ignore[arg-type]
            entries = [entry for entry in archive.infolist() if not _ignored(entry)]
            if len(entries) > limits.files:
                raise InputError(
                    f"{name} holds {len(entries)} files; at most {limits.files} can be taken."
                )
            quota = limits.quota(name, packed, folder.parent)
            folder.mkdir()
            for entry in entries:
                _write(archive, entry, folder, _path(entry, name), quota, name)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{name} cannot be unpacked: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        what = " ".join(str(error).split()).rstrip(".") or "it ends too early"
        raise InputError(f"{name} is no zip file that can be read: {what}.") from error
    if not entries:
        raise InputError(f"{name} holds no files.")
    return len(entries)


def _ignored(entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry is a folder, or what systems add to the files of people."""
    # not `is_dir`, which fails on an empty name
    parts = _name(entry).replace("\\", "/").split("/")
    return entry.filename.endswith(("/", "\\")) or any(map(is_of_the_system, parts))


def _path(entry: zipfile.ZipInfo, name: str) -> PurePosixPath:
    """Return where an entry belongs below the folder. Raises InputError where that is nowhere."""
    inside = _name(entry).replace("\\", "/")  # as old programs on Windows write it
    label = ascii(inside if len(inside) <= 100 else f"{inside[:97]}...")
    path = PurePosixPath(inside)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if (
        path.is_absolute()
        or ".." in path.parts
        or not path.parts
        or (":" in inside and os.name == "nt")
        or any(unicodedata.category(char) == "Cc" for char in inside)
        or len(inside) > _MOST_NAME
        or len(path.parts) > _MOST_PARTS
    ):
        raise InputError(f"{name} holds a file of the name {label}, which cannot be taken.")
    if kind not in (0, stat.S_IFREG):
        raise InputError(f"{name}: {label} is a link or a device, not a file.")
    if entry.flag_bits & _ENCRYPTED:
        raise InputError(f"{name} is encrypted: pack it without a password.")
    if entry.compress_type not in _METHODS:
        raise InputError(f"{name}: {label} is packed in an unusual way; pack it as plain zip.")
    return path


def _name(entry: zipfile.ZipInfo) -> str:
    """Decode the name, which many programs write as UTF-8 without saying so."""
    if entry.flag_bits & _UTF8:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


def _write(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    folder: Path,
    path: PurePosixPath,
    quota: DiskQuota,
    name: str,
) -> None:
    """Write a file to `path` below `folder`, and the folders above it that are not there yet."""
    for parent in reversed(path.parents[:-1]):  # the last is `folder`
        if not (folder / parent).is_dir():
            quota.add()
            (folder / parent).mkdir()
    quota.add()
    try:
        target = (folder / path).open("xb")
    except FileExistsError:
        raise InputError(f"{name} holds {_name(entry)!a} twice.") from None
    with archive.open(entry) as source, target:
        while piece := source.read(_PIECE):
            quota.take(len(piece))
            target.write(piece)
