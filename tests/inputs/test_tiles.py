"""Tiles of large pictures: how many there are, what they show, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import (
    AutoImageProcessor,
    CLIPImageProcessor,
    LlavaProcessor,
)
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

from tests import tiny
from vqa.answering import Request
from vqa.engine.image_tokens import encoder_view
from vqa.engine.prompt import ImageFingerprints, encode_request
from vqa.errors import InputError
from vqa.inputs.prompts import Message, count_image_tokens, encode, tokens_per_image
from vqa.inputs.tiles import check_tiles, choose_grid, count_crops, grid_pinpoints, prepare_crops
from vqa.models.checkpoints import load_config_and_processor
from vqa.models.llava import load_vision

SIDE = 28
EDGE = st.one_of(st.integers(1, 100), st.integers(1, 5000))
SIZE = st.tuples(EDGE, EDGE)


def image_processor(tiles: int = 4, **settings: Any) -> Any:
    """That of LLaVA 1.5, for pictures of 28 pixels."""
    options = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    if tiles > 1:
        options["image_grid_pinpoints"] = grid_pinpoints(tiles, (SIDE, SIDE))
    return CLIPImageProcessor(**options | settings)


@given(size=SIZE, tiles=st.integers(2, 9))
def test_there_are_as_many_crops_as_llava_next_makes(size: tuple[int, int], tiles: int) -> None:
    width, height = size
    pinpoints = grid_pinpoints(tiles, (SIDE, SIDE))
    expected = image_size_to_num_patches([height, width], pinpoints, SIDE)
    count = count_crops(image_processor(tiles), size)
    assert count == (expected if expected > 2 else 1)  # one tile shows what the overview shows
    rows, columns = choose_grid(image_processor(tiles), size)
    assert rows * columns <= tiles and count in (1, 1 + rows * columns)


@pytest.fixture(scope="module", params=["llava_1_5", "llava_interleave"])
def processor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = getattr(tiny, request.param)(tmp_path_factory.mktemp(request.param))
    return load_config_and_processor(str(tiny.with_tiles(directory, 6)))[1]


@given(sizes=st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), max_size=3))
def test_a_prompt_has_the_tokens_of_all_crops(processor: Any, sizes: list[tuple[int, int]]) -> None:
    pictures = tuple(Image.new("RGB", size, (n, n, n)) for n, size in enumerate(sizes))
    message = Message("user", "what of <image> is red?", pictures)
    pixels, counts = prepare_crops(processor.image_processor, pictures) if sizes else ([], [])
    tokens = tokens_per_image(processor)
    assert tokens == 4 and len(pixels) == sum(counts)
    assert count_image_tokens(processor, pictures) == [tokens * count for count in counts]
    ids = encode(processor, [message], add_generation_prompt=True).input_ids
    assert ids.count(processor.image_token_id) == tokens * sum(counts)
    prompt = encode_request(processor, Request((message,)), ImageFingerprints())
    assert prompt.ids.tolist() == ids
    places = prompt.identity[prompt.is_image]
    assert len({*places.tolist()}) == len(places) == tokens * sum(counts)  # none stands for another


def quarters(width: int, height: int) -> Image.Image:
    """A picture of four colours."""
    picture = Image.new("RGB", (2, 2))
    for number, colour in enumerate(COLOURS):
        picture.putpixel((number % 2, number // 2), colour)
    return picture.resize((width, height), Image.Resampling.NEAREST)


COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


@pytest.mark.parametrize("kind", ["crop", "squeeze"])
def test_an_overview_and_tiles_row_by_row(kind: str) -> None:
    options = {"do_center_crop": False, "size": {"height": SIDE, "width": SIDE}}
    made = image_processor(4, do_normalize=False, **options if kind == "squeeze" else {})
    pixels, counts = prepare_crops(made, [quarters(300, 280)])
    assert counts == [5] and pixels.shape == (5, 3, SIDE, SIDE)
    for tile, colour in zip(pixels[1:], COLOURS, strict=True):
        middle = tile[:, 4:-4, 4:-4]  # edges are mixed with the neighbours'
        assert torch.allclose(middle, torch.tensor(colour)[:, None, None] / 255, atol=0.02)
    corners = [pixels[0, :, y, x] for y in (2, -3) for x in (2, -3)]
    assert torch.allclose(torch.stack(corners), torch.tensor(COLOURS) / 255, atol=0.02)


def test_the_view_shows_all_tiles() -> None:
    made = image_processor(4)
    view = encoder_view(made, quarters(300, 280))
    assert view.size == (2 * SIDE, 2 * SIDE)
    assert np.abs(np.asarray(view, float) - np.asarray(quarters(56, 56), float)).mean() < 6
    assert encoder_view(made, quarters(28, 27)).size == (SIDE, SIDE)


def test_without_grids_pictures_are_prepared_as_before() -> None:
    pictures = [quarters(300, 280), quarters(20, 30)]
    for made in (image_processor(1), image_processor(image_grid_pinpoints=None)):
        pixels, counts = prepare_crops(made, pictures)
        assert counts == [1, 1] and count_crops(made, (5000, 4000)) == 1
        assert torch.equal(pixels, made(pictures, return_tensors="pt")["pixel_values"])
    small = [quarters(28, 28), quarters(12, 11)]  # of a model with tiles, one square is the best
    pixels, counts = prepare_crops(image_processor(4), small)
    assert counts == [1, 1]
    assert torch.equal(pixels, image_processor(1)(small, return_tensors="pt")["pixel_values"])


def test_a_part_of_a_picture_gets_the_grid_of_the_whole() -> None:
    made, whole = image_processor(4), quarters(300, 280)
    part = whole.crop((0, 0, 20, 280))
    pixels, counts = prepare_crops(made, [part], [whole.size])
    assert counts == prepare_crops(made, [whole])[1] == [5] and len(pixels) == 5


@pytest.mark.parametrize(
    ("pinpoints", "line"),
    [
        ("all", "a list of up to 256 resolutions"),
        ({"28": 56}, "a list of up to 256"),
        ([[28, 28]] * 257, "a list of up to 256"),
        ([28, 56], "pairs of height and width"),
        ([[28, 28, 28]], "pairs of height and width"),
        ([[28.0, 28]], "pairs of height and width"),
        ([[True, 28]], "pairs of height and width"),
        ([["28", 28]], "pairs of height and width"),
        ([[28, 28], [30, 28]], "30 x 28 is no grid of squares of 28 x 28"),
        ([[0, 28]], "0 x 28 is no grid"),
        ([[-28, -28]], "-28 x -28 is no grid"),
        ([[28, 37 * 28]], "28 x 1036 has more than 36 tiles"),
        ([[28 << 40, 28]], "has more than 36 tiles"),
    ],
)
def test_grids_that_are_none(pinpoints: Any, line: str) -> None:
    with pytest.raises(InputError, match=line) as error:
        check_tiles(image_processor(image_grid_pinpoints=pinpoints))
    assert "\n" not in str(error.value)


def test_an_image_processor_that_would_cut_the_edges_of_tiles() -> None:
    check_tiles(image_processor())
    check_tiles(image_processor(1, size={"shortest_edge": 32}))
    with pytest.raises(InputError, match="lose their edges, since 32 pixels are cropped to 28"):
        check_tiles(image_processor(size={"shortest_edge": 32}))


def test_a_models_directory_says_it(tmp_path: Path) -> None:
    path = tiny.with_tiles(tiny.llava_1_5(tmp_path / "model"))
    _, processor = load_config_and_processor(str(path))
    processor.save_pretrained(tmp_path / "again")
    again = LlavaProcessor.from_pretrained(tmp_path / "again")
    assert again.image_processor.image_grid_pinpoints == grid_pinpoints(4, (SIDE, SIDE))
    settings = json.loads((path / "preprocessor_config.json").read_text())
    settings["image_grid_pinpoints"] = [[28, 29]]
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"model: image_grid_pinpoints: 28 x 29 is no grid"):
        load_config_and_processor(str(path))


def test_an_encoder_alone_has_no_tiles(tmp_path: Path) -> None:
    directory = tiny.with_tiles(tiny.vision(tmp_path / "clip", "clip"))
    assert hasattr(AutoImageProcessor.from_pretrained(directory), "image_grid_pinpoints")
    _, made = load_vision(str(directory))
    assert count_crops(made, (500, 500)) == 1
