"""Paths of the pictures that rows name, by a path below their root or by an id alone.

No path may leave the root: not by `..`, not absolute, not by a link.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vqa.data.picture_files import with_any_ending

_CACHED = 16_384  # rows about one picture mostly come together
_ADDRESS = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+://", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_ADDRESS_SHOWN = 200  # characters
_FOLDERS = ("images", "train_images", "test_images")  # the latter two of TextVQA


def under(root: Path) -> Callable[[str], Path]:
    """Return a function that makes `root / name` of a name; it raises ValueError outside `root`.

    A `file:` URL is its path. A name that is no file as it stands is read without the white space
    around it and with backslashes as separators, as Windows writes them, and its letters with marks
    as one character or as several (Macs), whichever is there. Other addresses and paths with a
    drive are refused.

    The function caches what it reads about folders: of a million names in one folder each is
    resolved, but not each folder above it.
    """
    real_root = os.path.realpath(root)
    below = real_root.rstrip(os.sep) + os.sep
    real_folder = lru_cache(_CACHED)(os.path.realpath)

    @lru_cache(_CACHED)
    def inside(name: str) -> Path:
        path = _on_disk(root, _file_name(root, name))
        folder, last = os.path.split(path)
        real = os.path.join(real_folder(folder), last)
        if last == ".." or os.path.islink(real):
            real = os.path.realpath(real)
        if real != real_root and not real.startswith(below):
            raise ValueError(f"image {name!r} is outside {root}, where the pictures must be")
        return path

    return inside


def _file_name(root: Path, name: str) -> str:
    """Return the name of a picture as this system writes it. Raises ValueError for an address."""
    plain = name.strip()
    if _ADDRESS.match(plain):
        address = plain if len(plain) <= _ADDRESS_SHOWN else f"{plain[: _ADDRESS_SHOWN - 3]}..."
        raise ValueError(
            f"image {address!r}: pictures are not fetched from the network; download it and give "
            "its path"
        )
    if plain[:5].lower() == "file:":
        return unquote(urlsplit(plain).path)
    drive = os.sep == "/" and _DRIVE.match(plain)
    if (plain == name and "\\" not in name and not drive) or os.path.lexists(root / name):
        return name
    if drive:
        raise ValueError(
            f"image {name!r} is a Windows path with a drive; give the path below {root} instead"
        )
    return plain.replace("\\", os.sep)


def _on_disk(root: Path, name: str) -> Path:
    """Return the path of a name, each part of it in the Unicode form in which it is there."""
    path = root / name
    if name.isascii() or os.path.lexists(path):
        return path
    path = root
    for part in Path(name).parts:
        forms = (path / form for form in _forms(part))
        path = next((form for form in forms if os.path.lexists(form)), path / part)
    return path


def _forms(name: str) -> list[str]:
    """List a name as it is and in the forms that look the same."""
    if name.isascii():
        return [name]
    return [name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]


def picture_names(root: Path) -> Callable[[str | int, str], str]:
    """Return a function that names a picture of an id: the first name that lies below `root`.

    Its second argument is the part of the data set, as `train2014` or `val`; it may be empty.
    """

    @lru_cache(_CACHED)
    def name(key: str | int, part: str) -> str:
        forms = _forms(str(key))
        for form in forms:
            if os.path.isfile(root / form):
                return form
        names = [*_names(key, part), *(n for form in forms[1:] for n in _names(form, part))]
        return with_any_ending(root, names) or f"{names[0]}.jpg"

    return name


def _names(key: str | int, part: str) -> list[str]:
    """List names without their endings; of a number first COCO's, of twelve digits."""
    parts = [part] if part else []
    if part in ("train", "val", "test"):
        parts = [f"{part}2014", f"{part}2017", part]
    names = [str(key)]
    if isinstance(key, int):
        names = [f"COCO_{of}_{key:012}" for of in parts] + [f"{key:012}", str(key)]
    return names + [f"{folder}/{name}" for folder in (*parts, *_FOLDERS) for name in names]
