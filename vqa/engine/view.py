"""A picture as the vision encoder gets it."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def view(image_processor: Any, picture: Image.Image) -> Image.Image:
    """The picture after resizing and cropping, with the normalisation of its colours undone."""
    pixels = image_processor([picture], return_tensors="np")["pixel_values"][0]  # [3, H, W]
    if getattr(image_processor, "do_normalize", False):
        mean = np.asarray(image_processor.image_mean)[:, None, None]
        deviation = np.asarray(image_processor.image_std)[:, None, None]
        pixels = pixels * deviation + mean
    if getattr(image_processor, "do_rescale", False):
        pixels = pixels / image_processor.rescale_factor
    values = np.rint(pixels).clip(0, 255).astype(np.uint8)
    return Image.fromarray(values.transpose(1, 2, 0))
