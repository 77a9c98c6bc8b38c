"""The pictures of a folder: which files are taken for some, and what is left out of it.

Everything that reads a folder of pictures lists it here. A file with the usual ending of a picture
is one, and any other whose content begins as one; whether it is whole shows when it is opened.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from vqa.errors import InputError
from vqa.inputs import signatures

_SYSTEM = frozenset({
    "__macosx", ".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin",
    "system volume information", "@eadir", "icon\r",
})  # fmt: skip
# One thing that is left out, and several
_NO_PICTURE = ("file that is no picture", "files that are no pictures")
_LINK = ("link to a folder, which is not followed", "links to folders, which are not followed")
_NOWHERE = ("link that leads nowhere", "links that lead nowhere")
_SPECIAL = ("device or pipe", "devices or pipes")
_BESIDE = ("picture beside the classes' folders", "pictures beside the classes' folders")
_CLOSED = ("folder that may not be read", "folders that may not be read")
_NAMED = 3  # folders below those of classes
_ENDINGS = tuple(ending for known in signatures.FORMATS for ending in known.endings)
_PROBED = 10_000  # files: the folder may be any, and hold everything but pictures


def is_of_the_system(name: str) -> bool:
    """Return whether a system or a program puts files of this name beside those of people.

    `._a.jpg` is what a Mac writes beside `a.jpg` on foreign disks and in zip files.
    """
    return name.startswith("._") or name.lower() in _SYSTEM


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is none of those that people see: nobody misses it."""
    return name.startswith(".") or is_of_the_system(name)


def with_any_ending(folder: Path, names: Sequence[str]) -> str | None:
    """Find the first of the names, which lack their endings, under which a picture is in a folder.

    Sets are handed on in other formats than their official one; None where none is there.
    """
    endings = (*_ENDINGS, *(ending.upper() for ending in _ENDINGS))
    every = (f"{name}{ending}" for ending in endings for name in names)
    return next((name for name in every if os.path.isfile(folder / name)), None)


@dataclass(frozen=True)
class LeftOut:
    """The files of a folder that are not read."""

    parts: tuple[str, ...]  # as "3 files that are no pictures (such as notes.txt)"

    def line_about(self, path: Path) -> str:
        """One line for people."""
        return f"{path}: left out: {'; '.join(self.parts)}"


@dataclass
class Listing:
    """The pictures of a folder in the order of their paths, and the counts of what is none."""

    folder: Path
    pictures: list[Path] = field(default_factory=list)
    _others: dict[tuple[str, str], tuple[int, Path]] = field(default_factory=dict)

    def add(self, folder: Path) -> list[Path]:
        """Take in what is in a folder, this one or one below it; its pictures by path."""
        pictures = []
        for path, kind in _walk(folder):
            if kind is None:
                pictures.append(Path(path))
            else:
                self.leave_out(kind, Path(path))
        pictures.sort()
        self.pictures += pictures
        return pictures

    def leave_out(self, kind: tuple[str, str], path: Path) -> None:
        """Count what is left out, by how one and several of its kind are called."""
        count, first = self._others.get(kind, (0, path))
        self._others[kind] = count + 1, min(first, path)

    def left_out(self) -> LeftOut | None:
        """Return what is no picture; None where everything is one."""
        parts = (
            f"{count:,} {kind[count > 1]} ({'such as ' if count > 1 else ''}{self.name(first)})"
            for kind, (count, first) in self._others.items()
        )
        return LeftOut(tuple(parts)) if self._others else None

    def name(self, path: Path) -> str:
        """Return a path as it lies below the folder."""
        return path.relative_to(self.folder).as_posix()


def list_pictures(folder: Path) -> Listing:
    """List the pictures in a folder and all folders below it, but for hidden ones.

    Links to folders are not followed: they may lead back. Raises InputError where the folder is not
    there, may not be read, or has no picture.
    """
    listing = Listing(folder)
    if not listing.add(folder):
        left_out = listing.left_out()
        rest = f"; {'; '.join(left_out.parts)}" if left_out is not None else ""
        raise InputError(f"{folder}: no pictures in it ({signatures.format_names()}){rest}")
    return listing


def list_classes(folder: Path) -> tuple[dict[str, list[Path]], LeftOut | None]:
    """List the pictures of each class, a folder in `folder`, by name; and what is left out.

    So are pictures in folders below those of the classes: one library takes the name of the upper
    folder for the class, another that of the lower. Raises InputError where only such are there.
    """
    listing = Listing(folder)
    classes: dict[str, list[Path]] = {}
    below: defaultdict[Path, list[Path]] = defaultdict(list)
    for entry in sorted(_entries(str(folder)), key=lambda entry: entry.name):
        if entry.is_dir():  # a link, too
            pictures = classes[entry.name] = []
            for path in listing.add(Path(entry.path)):
                (pictures if path.parent.parent == folder else below[path.parent]).append(path)
        elif (kind := _kind(entry)) is None:
            listing.leave_out(_BESIDE, Path(entry.path))
        else:
            listing.leave_out(kind, Path(entry.path))
    if below and not any(classes.values()):
        first = min(below)
        raise InputError(
            f"{folder}: its folders hold no pictures themselves, but folders below them do (such "
            f"as {listing.name(first)}): name the folder whose folders are the classes, "
            f"{first.parent}"
        )
    for number, (lower, paths) in enumerate(sorted(below.items())):
        name = listing.name(lower)
        where = "in more such folders" if number >= _NAMED else f"in {name}, below that of a class"
        for path in paths:
            listing.leave_out((f"picture {where}", f"pictures {where}"), path)
    return classes, listing.left_out()


def has_classes(folder: Path) -> bool:
    """Return whether a folder in `folder` has a picture in it, or below it."""
    try:
        inside = [entry.path for entry in _entries(str(folder)) if entry.is_dir()]
        files = chain.from_iterable(_walk(Path(path)) for path in inside)
        return any(kind is None for _, kind in islice(files, _PROBED))
    except InputError:
        return False


def _walk(folder: Path) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """Yield paths of pictures (with None) and of what is left out (with its kind), in any order."""
    waiting = [str(folder)]
    while waiting:
        path = waiting.pop()
        try:
            entries = _entries(path)
        except InputError:
            if path == str(folder):
                raise
            yield path, _CLOSED
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            else:
                yield entry.path, _kind(entry)


def _entries(path: str) -> list[os.DirEntry[str]]:
    """List what people see in a folder."""
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if not is_hidden(entry.name)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such folder of pictures") from None
    except NotADirectoryError:
        raise InputError(f"{path}: a file, where a folder of pictures is expected") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: the folder cannot be read ({reason})") from error


def _kind(entry: os.DirEntry[str]) -> tuple[str, str] | None:
    """Return why a file is left out; None for a picture."""
    named = os.path.splitext(entry.name)[1].lower() in signatures.SUFFIXES
    try:
        if entry.is_dir():
            return _LINK
        if entry.is_file():
            return None if named or _begins_as_picture(entry.path) else _NO_PICTURE
        if not entry.is_symlink() or os.path.exists(entry.path):
            return _SPECIAL
    except OSError:  # links in a circle
        pass
    return None if named else _NOWHERE  # a picture is missing: who opens it says so


def _begins_as_picture(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return signatures.detect_format(file.read(signatures.HEAD_BYTES)) is not None
    except OSError:
        return False
