"""Open every picture of a run before it starts, so that a broken one is named at once.

Which contents could be opened is noted in the cache directory, so that the next start reads the
files but decodes none of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vqa.errors import InputError
from vqa.inputs.images import MAX_PIXELS, load_image
from vqa.utils import cache, fingerprint
from vqa.utils.files import atomic_write, lock
from vqa.utils.progress import progress_bar
from vqa.version import __version__

# Part of the note's name: raise it when `load_image` refuses or takes other pictures.
_OPENED_VERSION = 1
_THREADS = min(8, os.cpu_count() or 1)
_AT_ONCE = 4096  # pictures between two notes of what could be opened

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class CheckedPictures:
    """The pictures of a run by path: fingerprints of whole files, and why others are broken."""

    fingerprints: dict[str, str]
    broken: dict[str, str]


def open_pictures(paths: Sequence[str]) -> CheckedPictures:
    """Read every file, and decode those whose content has not been decoded before."""
    pictures = CheckedPictures({}, {})
    decodable = _decodable()
    with (
        progress_bar("pictures", "files") as tell,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        for start in range(0, len(paths), _AT_ONCE):
            part = paths[start : start + _AT_ONCE]
            new: set[int] = set()
            results = pool.map(partial(_open, decodable=decodable), part)
            for done, (path, (digest, reason)) in enumerate(zip(part, results, strict=True), 1):
                tell(start + done, len(paths))
                if digest is None:
                    pictures.broken[path] = reason
                    continue
                pictures.fingerprints[path] = digest
                if not _among(_key(digest), decodable):
                    new.add(_key(digest))
            if new:
                decodable = _store(new)
    return pictures


def _open(path: str, decodable: Keys) -> tuple[str | None, str]:
    """Compute the fingerprint of a picture's file, or say why it cannot be opened."""
    try:
        if not os.path.isfile(path):
            load_image(path)  # says what is there instead
        digest = fingerprint.of_file(path)
        if not _among(_key(digest), decodable):
            load_image(path)
    except InputError as error:
        return None, str(error).removesuffix(".")
    return digest, ""


def _key(digest: str) -> int:
    return int(digest[:16], 16)


def _among(key: int, sorted_keys: Keys) -> bool:
    index = int(sorted_keys.searchsorted(np.uint64(key)))
    return index < len(sorted_keys) and int(sorted_keys[index]) == key


def _file() -> Path:
    readers = [_OPENED_VERSION, __version__, MAX_PIXELS, version("pillow")]
    return cache.cache_dir() / "opened" / fingerprint.of_json(readers)


def _decodable() -> Keys:
    """Load the contents that could be decoded, sorted."""
    try:
        return np.fromfile(_file(), dtype=np.uint64)
    except OSError:  # none is noted, or the note cannot be read: they are decoded again
        return np.empty(0, dtype=np.uint64)


def _store(new: set[int]) -> Keys:
    with lock(_file()):
        if _file().is_dir():
            shutil.rmtree(_file())
        keys = np.union1d(_decodable(), np.array(sorted(new), dtype=np.uint64))
        with atomic_write(_file(), "wb") as file:
            file.write(keys.tobytes())
    return keys
