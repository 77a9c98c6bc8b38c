"""JSON objects in files of strangers: plain files of a bounded size and depth, each key once."""

from __future__ import annotations

import json
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

from vqa.errors import InputError

OBJECT_BYTES = 8 << 20  # of a config
_DEEPEST = 60  # levels of nesting


def read_object(path: Path, most: int = OBJECT_BYTES) -> dict[str, Any]:
    """Read the JSON object in a file. Raises InputError with path and reason."""
    check_file(path, most)
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique_keys)
        if _deeper_than(value, _DEEPEST):
            raise RecursionError
    except RecursionError as error:
        raise InputError(f"{path}: cannot be read as JSON: nested too deeply") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0][:200]
        raise InputError(f"{path}: cannot be read as JSON: {reason}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is expected")
    return value


def check_file(path: Path, most: int | None = None) -> None:
    """Raise InputError unless `path` is a plain file of at most `most` bytes, or is not there."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise InputError(f"{path}: a link that leads nowhere") from error
        return
    except (OSError, ValueError) as error:  # links in a circle, a name with a zero in it
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {reason}") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: not a file, but a directory, pipe or device")
    if most is not None and status.st_size > most:
        raise InputError(f"{path}: {status.st_size:,} bytes are more than such a file can have")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of pairs, for `json.loads`; ValueError where a key stands in it twice."""
    value = dict(pairs)
    if len(value) < len(pairs):
        names = sorted(name for name, _ in pairs)
        twice = next(name for name, other in pairwise(names) if name == other)
        raise ValueError(f"{twice[:80]!r} stands in it twice")
    return value


def _deeper_than(value: Any, most: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_deeper_than(item, most - 1) for item in inner)
