"""Maps from occlusion: what an answer loses where a part of the picture, or all but it, is covered.

Covering a part is after Zeiler and Fergus 2014 (arXiv:1311.2901, section 4.2), with the probability
of the given answer in place of a class. Covering all but a part is the opposite question, as in
insertion (vqa/explain/faithfulness.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from vqa.answering import Choosing, Request
from vqa.explain.covering import Mask, Progress, covered, likelihoods, pictures_of, veil
from vqa.explain.regions import Region, Values


def occlusion(
    answerer: Choosing,
    request: Request,
    answer: str,
    regions: Sequence[Region],
    grid: int,
    progress: Progress,
) -> list[Values]:
    """What `answer` loses without each part of each picture, times what the part alone gives it.

    Returns a map [grid, grid] for each picture of the request. A window of three cells a side is
    moved cell by cell, since a smaller one leaves enough of most things to know them; its value is
    put to the window's middle. Loss and gain are differences of log probabilities, from the whole
    picture and from one that is covered everywhere; below 0 they count as 0. Neither alone is
    enough: covering anything makes some answers less sure, and a bare corner may suggest them.
    Where no part gives both, the map is the loss.
    """
    pictures = pictures_of(request)
    versions = _versions(pictures, regions, grid)
    whole, *found = likelihoods(answerer, request, answer, versions, progress)
    maps = []
    for bare, *rest in np.array(found).reshape(len(pictures), -1):
        without, alone = np.array(rest).reshape(2, grid, grid)
        loss, gain = np.clip(whole - without, 0, None), np.clip(alone - bare, 0, None)
        both = loss * gain
        maps.append(both if both.any() else loss)
    return maps


def looks(pictures: int, grid: int) -> int:
    """How many versions of the pictures `occlusion` looks at."""
    return 1 + pictures * (1 + 2 * grid * grid)


def _versions(
    pictures: Sequence[Image.Image], regions: Sequence[Region], grid: int
) -> Iterator[list[Image.Image]]:
    """The pictures as they are, then for each: all of it covered, each window, all but each."""
    yield list(pictures)
    windows = list(_windows(grid))
    masks = [np.ones((grid, grid), bool), *windows, *(~window for window in windows)]
    for number, (picture, region) in enumerate(zip(pictures, regions, strict=True)):
        cover = veil(picture)
        for mask in masks:
            version = list(pictures)
            version[number] = covered(picture, cover, region, mask)
            yield version


def _windows(grid: int) -> Iterator[Mask]:
    for row in range(grid):
        for column in range(grid):
            window = np.zeros((grid, grid), bool)
            window[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
            yield window
