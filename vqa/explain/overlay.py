"""A map laid over its picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from vqa.explain.regions import RelevanceMap

COLOURS = "inferno"


def overlay(picture: Image.Image, relevance: RelevanceMap) -> Image.Image:
    """Draw a picture, of any size, in dark grey and its map, of at most 1, in colours over it."""
    from matplotlib import colormaps  # half a second, which a map that is not drawn need not take

    values = RelevanceMap(relevance.values, relevance.region, picture.size).over_picture()  # [H, W]
    # a little blur: interpolation between cells leaves creases
    cell = max(picture.size) / max(relevance.values.shape)
    blur = ImageFilter.GaussianBlur(cell / 3)
    values = np.asarray(Image.fromarray(np.uint8(255 * values)).filter(blur)) / 255
    values = values / max(values.max(), 1e-6) * relevance.values.max()
    colours = colormaps[COLOURS](values)[..., :3]
    grey = np.asarray(picture.convert("L"), np.float64)[..., None] / 255
    share = (0.25 + 0.45 * values)[..., None]
    blended = np.clip((1 - share) * grey + share * colours, 0, 1)
    return Image.fromarray(np.uint8(np.rint(255 * blended)))
