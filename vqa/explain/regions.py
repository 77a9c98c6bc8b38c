"""Which part of a picture a model sees, and maps over that part.

A model sees a grid of cells. Its image processor has squeezed, cropped or padded the picture
before, so the grid lies over the whole picture, over a part of it, or reaches beyond it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa.inputs.tiles import choose_grid

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """A rectangle in a picture, in shares of its width and height; padding lies beyond 0 to 1."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0


@dataclass(frozen=True)
class RelevanceMap:
    """How much an answer rests on each cell of a picture."""

    values: Values  # [rows, columns], 0 or more
    region: Region  # what the cells cover
    size: tuple[int, int]  # width and height of the picture

    def over_picture(self) -> Values:
        """Interpolate the map to the picture's pixels [H, W]; 0 where the model sees nothing."""
        width, height = self.size
        down = _weights(height, self.region.top, self.region.bottom, self.values.shape[0])
        along = _weights(width, self.region.left, self.region.right, self.values.shape[1])
        return down @ self.values @ along.T  # [H, rows] @ [rows, columns] @ [columns, W]


def visible_region(image_processor: Any, size: tuple[int, int], patch_size: int) -> Region:
    """Compute which part of a picture of `size` (width, height) a model's grid covers.

    Follows the order of Hugging Face's image processors: pad to a square (LLaVA's own), resize (to
    a square as SigLIP and ViT, or the shortest edge as CLIP), crop the centre. Cells begin at the
    upper left and are whole: of 384 pixels, patches of 14 cover 378. Tiles cover all of a picture.
    """
    if choose_grid(image_processor, size) != (1, 1):
        return Region()
    width, height = size
    # the canvas in pixels of the picture, and the pixels that it is resized to
    left, top, across, down = 0.0, 0.0, float(width), float(height)
    if getattr(image_processor, "do_pad", False):
        across = down = float(max(size))
        left, top = (width - across) / 2, (height - down) / 2
    resized = _resized(image_processor, across, down)
    if getattr(image_processor, "do_center_crop", False):
        crop = image_processor.crop_size
        share = (crop["width"] / resized[0], crop["height"] / resized[1])
        left, across = left + across * (1 - share[0]) / 2, across * share[0]
        top, down = top + down * (1 - share[1]) / 2, down * share[1]
        resized = (crop["width"], crop["height"])
    across *= math.floor(resized[0] / patch_size) * patch_size / resized[0]
    down *= math.floor(resized[1] / patch_size) * patch_size / resized[1]
    return Region(left / width, top / height, (left + across) / width, (top + down) / height)


def _resized(image_processor: Any, across: float, down: float) -> tuple[float, float]:
    size = image_processor.size
    if not getattr(image_processor, "do_resize", True) or not size:
        return across, down
    edge = getattr(size, "shortest_edge", None) or dict(size).get("shortest_edge")
    if edge:
        return across * edge / min(across, down), down * edge / min(across, down)
    return float(size["width"]), float(size["height"])


def _weights(pixels: int, first: float, last: float, cells: int) -> Values:
    """Weigh cells between two shares of an edge for each of its pixels [pixels, cells]."""
    place = ((np.arange(pixels) + 0.5) / pixels - first) / (last - first)  # 0 to 1 within
    inside = (place >= 0) & (place <= 1)
    spot = np.clip(place * cells - 0.5, 0, cells - 1)
    weights = np.clip(1 - np.abs(spot[:, None] - np.arange(cells)), 0, 1)
    return weights * inside[:, None]
