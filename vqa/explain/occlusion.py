"""Maps from occlusion: what becomes of the answer when a part of the picture is covered.

After Zeiler and Fergus 2014 (arXiv:1311.2901, section 4.2), with the probability of the given
answer in place of a class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from vqa.answering import Choosing, Request
from vqa.explain.covering import Progress, covered, likelihoods, pictures_of, veil
from vqa.explain.regions import Region, Values


def occlusion(
    answerer: Choosing,
    request: Request,
    answer: str,
    regions: Sequence[Region],
    grid: int,
    progress: Progress,
) -> list[Values]:
    """How much the log probability of `answer` falls with each part of each picture covered.

    Returns a map [grid, grid] for each picture of the request. A window of three cells a side is
    moved cell by cell, since a smaller one leaves enough of most things to know them; what the
    answer loses is put to the window's middle. Where it gains, the map is 0.
    """
    pictures = pictures_of(request)
    versions = _versions(pictures, regions, grid)
    before, *after = likelihoods(answerer, request, answer, versions, progress)
    lost = np.clip(before - np.array(after), 0, None)
    return list(lost.reshape(len(pictures), grid, grid))


def looks(pictures: int, grid: int) -> int:
    """How many versions of the pictures `occlusion` looks at."""
    return 1 + pictures * grid * grid


def _versions(
    pictures: Sequence[Image.Image], regions: Sequence[Region], grid: int
) -> Iterator[list[Image.Image]]:
    yield list(pictures)
    for number, (picture, region) in enumerate(zip(pictures, regions, strict=True)):
        cover = veil(picture)
        for row in range(grid):
            for column in range(grid):
                window = np.zeros((grid, grid), bool)
                window[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
                version = list(pictures)
                version[number] = covered(picture, cover, region, window)
                yield version
