"""Maps lie where the model saw them: squeeze, crop and padding of real image processors undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from transformers import CLIPImageProcessor, SiglipImageProcessor, ViTImageProcessor
from transformers.models.llava.image_processing_llava import LlavaImageProcessor

from vqa.explain.regions import Region, RelevanceMap, visible_region

_SQUARE = {"height": 224, "width": 224}
_NORM = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def _processors() -> dict[str, tuple[Any, int]]:
    """Image processors as checkpoints have them, and their patch sizes."""
    edge = {"shortest_edge": 224}
    return {
        "square": (ViTImageProcessor(size=_SQUARE, **_NORM), 32),
        "SigLIP": (SiglipImageProcessor(size={"height": 384, "width": 384}, **_NORM), 14),
        "CLIP": (CLIPImageProcessor(size=edge, crop_size=_SQUARE, **_NORM), 14),
        "DINOv2": (
            CLIPImageProcessor(size={"shortest_edge": 256}, crop_size=_SQUARE, **_NORM),
            14,
        ),
        "padded": (LlavaImageProcessor(size=edge, crop_size=_SQUARE, do_pad=True, **_NORM), 14),
    }


@pytest.mark.parametrize("name", ["square", "SigLIP", "CLIP", "DINOv2", "padded"])
@pytest.mark.parametrize("size", [(400, 240), (240, 400), (300, 300)])
def test_a_spot_is_found_where_it_is(name: str, size: tuple[int, int]) -> None:
    processor, patch = _processors()[name]
    middle = (size[0] // 2 + 30, size[1] // 2 - 40)
    picture = Image.new("RGB", size, (60, 60, 60))
    box = [middle[0] - 12, middle[1] - 12, middle[0] + 12, middle[1] + 12]
    ImageDraw.Draw(picture).rectangle(box, (255, 0, 0))
    pixels = processor([picture], return_tensors="np")["pixel_values"][0]  # [3, H, W]
    red = pixels[0] - pixels[1] > 1
    rows, columns = (side // patch for side in red.shape)
    region = visible_region(processor, size, patch)
    spot = [np.nonzero(red)[axis].mean() + 0.5 for axis in (1, 0)]
    x = region.left + spot[0] / (columns * patch) * (region.right - region.left)
    y = region.top + spot[1] / (rows * patch) * (region.bottom - region.top)
    assert x * size[0] == pytest.approx(middle[0] + 0.5, abs=1.5)
    assert y * size[1] == pytest.approx(middle[1] + 0.5, abs=1.5)
    # and a map with that cell alone is highest there
    values = np.zeros((rows, columns))
    values[int(spot[1] / patch), int(spot[0] / patch)] = 1
    over = RelevanceMap(values, region, size).over_picture()
    assert over.shape == (size[1], size[0])
    top = np.unravel_index(over.argmax(), over.shape)
    cell = max(size) / min(rows, columns)
    assert abs(top[1] - middle[0]) <= cell and abs(top[0] - middle[1]) <= cell


def test_nothing_is_claimed_of_what_was_not_seen() -> None:
    over = RelevanceMap(np.ones((4, 4)), Region(0.25, 0, 0.75, 1), (80, 40)).over_picture()
    assert (over[:, :20] == 0).all() and (over[:, 60:] == 0).all()
    assert over[:, 20:60] == pytest.approx(1)


def test_padding_is_cut_off() -> None:
    values = np.zeros((4, 4))
    values[0] = 5  # the padding above the picture
    values[2, 1] = 1
    over = RelevanceMap(values, Region(0, -0.5, 1, 1.5), (80, 40)).over_picture()
    assert over[12:].max() == pytest.approx(0.95, abs=0.01)
    assert over[-1].max() < over[20:30].max()
