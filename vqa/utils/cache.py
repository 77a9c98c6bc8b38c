"""The directories of this user: the cache, for what can be made again, and the data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from vqa.errors import InputError


def cache_dir() -> Path:
    """Return this user's cache directory; VQA_CACHE names another.

    Raises InputError where nobody knows a home directory of this user.
    """
    import platformdirs

    named = os.environ.get("VQA_CACHE") or _of_user(platformdirs.user_cache_dir, "VQA_CACHE")
    return Path(named).absolute()


def data_dir() -> Path:
    """Return the directory of this user's conversations.

    Raises InputError where nobody knows a home directory of this user.
    """
    import platformdirs

    return Path(_of_user(platformdirs.user_data_dir, "XDG_DATA_HOME"))


def unwritable_advice(path: Path) -> str:
    """Write the advice for a `path` in the cache that cannot be written, and none for others."""
    try:
        inside = path.absolute().is_relative_to(cache_dir())
    except InputError:
        return ""
    return " (set VQA_CACHE to a directory that can be written)" if inside else ""


def _of_user(directory: Callable[[str], str], variable: str) -> str:
    try:
        path = directory("vqa")
    except RuntimeError:
        path = "~"
    if path.startswith("~"):  # as platformdirs leaves it, or refuses to
        raise InputError(
            f"this user has no home directory: set HOME or {variable} to a directory that can be "
            "written"
        )
    return path
