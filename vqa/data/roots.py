"""Names of pictures may not leave their root: not by `..`, not absolute, not by a link."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

_KEPT = 16_384  # rows about one picture mostly come together


def under(root: Path) -> Callable[[str], Path]:
    """A function that makes `root / name` of a name; it raises ValueError where that leaves `root`.

    What it finds out about a folder is kept as long as the function is: a million names in a folder
    cost a look at each name, not at each folder above it.
    """
    real_root = os.path.realpath(root)
    below = real_root.rstrip(os.sep) + os.sep
    real_folder = lru_cache(_KEPT)(os.path.realpath)

    @lru_cache(_KEPT)
    def inside(name: str) -> Path:
        path = root / name
        folder, last = os.path.split(path)
        real = os.path.join(real_folder(folder), last)
        if last == ".." or os.path.islink(real):
            real = os.path.realpath(real)
        if real != real_root and not real.startswith(below):
            raise ValueError(f"image {name!r} leaves {root}")
        return path

    return inside
