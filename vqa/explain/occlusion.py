"""Maps from occlusion: an answer's log probability while a part, or all but it, is covered.

Covering a part is after Zeiler and Fergus 2014 (arXiv:1311.2901, section 4.2), with the probability
of the given answer in place of a class. Covering all but a part is the opposite question, as in
insertion (vqa/explain/faithfulness.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from vqa.answering import Request, SupportsChoices
from vqa.explain.covering import (
    AT_ONCE,
    Mask,
    Progress,
    answer_log_probs,
    cover_cells,
    mean_colour,
)
from vqa.explain.regions import Region, Values


def occlusion_maps(
    answerer: SupportsChoices,
    request: Request,
    answer: str,
    regions: Sequence[Region],
    grid: int,
    progress: Progress,
    at_once: int = AT_ONCE,
) -> list[Values]:
    """Compute what `answer` loses without each part of each picture, times the gain by it alone.

    Returns a map [grid, grid] for each picture of the request. A window of three cells a side is
    moved cell by cell, since a smaller one leaves enough of most things to know them; its value is
    put to the window's middle. Loss and gain are differences of log probabilities, from the whole
    picture and from one that is covered everywhere; below 0 they count as 0. Neither alone is
    enough: covering anything makes some answers less sure, and a bare corner may suggest them.
    Where no part gives both, the map is the loss.
    """
    pictures = request.images
    versions = _versions(pictures, regions, grid)
    whole, *log_probs = answer_log_probs(answerer, request, answer, versions, progress, at_once)
    maps = []
    for bare, *rest in np.array(log_probs).reshape(len(pictures), -1):
        without, alone = np.array(rest).reshape(2, grid, grid)
        loss, gain = np.clip(whole - without, 0, None), np.clip(alone - bare, 0, None)
        both = loss * gain
        maps.append(both if both.any() else loss)
    return maps


def count_versions(pictures: int, grid: int) -> int:
    """Count the versions of the pictures that the answerer reads."""
    return 1 + pictures * (1 + 2 * grid * grid)


def _versions(
    pictures: Sequence[Image.Image], regions: Sequence[Region], grid: int
) -> Iterator[list[Image.Image]]:
    """Yield the pictures as they are; then of each: all covered, each window, all but each."""
    yield list(pictures)
    windows = list(_windows(grid))
    masks = [np.ones((grid, grid), bool), *windows, *(~window for window in windows)]
    for number, (picture, region) in enumerate(zip(pictures, regions, strict=True)):
        cover = mean_colour(picture)
        for mask in masks:
            version = list(pictures)
            version[number] = cover_cells(picture, cover, region, mask)
            yield version


def _windows(grid: int) -> Iterator[Mask]:
    for row in range(grid):
        for column in range(grid):
            window = np.zeros((grid, grid), bool)
            window[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
            yield window
