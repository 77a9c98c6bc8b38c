"""Where the pictures of a zip file lie: at its top, or in the only folder that was packed."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from itertools import zip_longest
from pathlib import Path

from vqa.batches.quotas import RowQuota
from vqa.data import read
from vqa.data.picture_files import is_hidden


def find_root(data: Path, top: Path, quota: Callable[[], RowQuota]) -> Path:
    """Return `top`, or the only folder in it: the first row with a picture below either decides.

    Raises InputError as `read`, and beyond the quota; each reading of the rows has one of its own.
    """
    inner = [path for path in top.iterdir() if path.is_dir() and not is_hidden(path.name)]
    if len(inner) != 1:
        return top
    with ExitStack() as stack:
        # side by side, for mostly the first row decides
        in_top, in_inner = (
            stack.enter_context(closing(_has_picture(data, root, quota())))
            for root in (top, inner[0])
        )
        for is_top, is_inner in zip_longest(in_top, in_inner):
            if is_top or is_inner:
                return top if is_top else inner[0]
    return top


def _has_picture(data: Path, root: Path, quota: RowQuota) -> Generator[bool, None, None]:
    """Yield of each row whether a picture of it lies below the root, and not in the data itself."""
    rows = read(data, root, need_answers=False, bad=quota.take)
    with closing(rows):  # type: ignore[type-var]
        for row in rows:
            quota.take(row)
            images = [image for image in row.images if Path(image).is_relative_to(root)]
            yield any(map(os.path.isfile, images))
