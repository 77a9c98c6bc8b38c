"""Parts of pictures: what comes from a browser is checked, and cut out of all pixels there are."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vqa.errors import InputError
from vqa.inputs.boxes import LEAST, Box, crop, draw_box, parse_box
from vqa.inputs.images import load_image

SIZE = (400, 200)
ANYTHING = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3)


def test_a_part_is_cut_out_of_the_upright_picture_at_full_resolution() -> None:
    stored = Image.new("RGB", SIZE, "red")
    stored.paste("blue", (300, 100, 400, 200))  # lower right; turned by EXIF it is lower left
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    stored.save(file, "PNG", exif=exif)
    upright = load_image(file)
    part = crop(upright, parse_box([0.0, 0.75, 0.5, 1], upright.size))
    assert (upright.size, part.size) == ((200, 400), (100, 100))
    assert part.getcolors() == [(10_000, (0, 0, 255))]


@pytest.mark.parametrize(
    "values",
    [
        None, 1, "0011", {}, [], [0, 0, 1], [0, 0, 1, 1, 1], ["0", "0", "1", "1"], [0, 0, 1, None],
        [float("nan"), 0, 1, 1], [0, 0, float("inf"), 1], [0, 0, 10**400, 1], [-0.1, 0, 1, 1],
        [0, 0, 1.01, 1], [0.5, 0, 0.5, 1], [0.6, 0, 0.4, 1], [0, 0, (LEAST - 1) / SIZE[0], 1],
        [0, 0, 1, (LEAST - 1) / SIZE[1]],
    ],
)  # fmt: skip
def test_what_is_no_part_is_refused_in_one_line(values: object) -> None:
    with pytest.raises(InputError) as error:
        parse_box(values, SIZE)
    assert "\n" not in str(error.value)


@given(st.lists(ANYTHING, min_size=3, max_size=5))
def test_whatever_comes_it_is_a_part_inside_or_refused(values: list[Any]) -> None:
    try:
        box = parse_box(values, SIZE)
    except InputError:
        return
    assert min(crop(Image.new("RGB", SIZE), box).size) >= LEAST
    assert [float(one) for one in values] == box.values


def test_the_smallest_part_is_taken() -> None:
    box = parse_box([0, 0, LEAST / SIZE[0], LEAST / SIZE[1]], SIZE)
    assert crop(Image.new("RGB", SIZE), box).size == (LEAST, LEAST)


@pytest.mark.parametrize("size", [SIZE, (8, 6), (1, 1)])
@pytest.mark.parametrize("values", [(0.25, 0.25, 0.75, 0.75), (0.0, 0.0, 1.0, 1.0)])
def test_a_frame_is_drawn_into_a_copy(
    size: tuple[int, int], values: tuple[float, float, float, float]
) -> None:
    picture = Image.new("RGB", size, "white")
    drawn = draw_box(picture, Box(*values))
    assert picture.getcolors() == [(size[0] * size[1], (255, 255, 255))]
    assert drawn.size == size and (255, 213, 74) in {colour for _, colour in drawn.getcolors()}
    if size == SIZE:
        assert drawn.getpixel((200, 100)) == (255, 255, 255)  # what is inside stays as it is
