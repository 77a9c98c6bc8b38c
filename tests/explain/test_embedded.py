"""The model that ships looks at what it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqa.chat import Conversation
from vqa.engine import LocalEngine
from vqa.explain.attention import attention_maps
from vqa.explain.regions import Region, RelevanceMap
from vqa.inputs.images import load_image


@pytest.mark.weights
def test_attention_finds_the_cat_wherever_it_is(examples: Path) -> None:
    from vqa.models.checkpoints import load

    engine = LocalEngine(load("embedded"))
    cat = load_image(examples / "cat.jpg").resize((225, 150))
    for left, top in ((0, 0), (375, 250)):
        picture = Image.new("RGB", (600, 400), (120, 130, 120))
        picture.paste(cat, (left, top))
        request = Conversation().ask("Is there a cat in the image?", [picture]).request()
        (values,) = attention_maps(engine.loaded, request, "yes")
        over = RelevanceMap(values, Region(), picture.size).over_picture()  # [400, 600]
        row, column = np.unravel_index(over.argmax(), over.shape)
        # a cell of 75 x 50 pixels may lie half outside
        assert left - 38 <= column < left + 263 and top - 25 <= row < top + 175
        inside = over[top : top + 150, left : left + 225].sum()
        assert inside > 0.3 * over.sum()  # of a seventh of the picture
