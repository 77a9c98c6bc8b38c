"""Answers about pictures with tiles: those of transformers, in batches and from caches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests import tiny
from tests.cli.run import refused, vqa_here
from tests.engine.test_engine import ask, mixed, same
from tests.vlm_checks import noise
from vqa.answering import Request
from vqa.engine import LocalEngine
from vqa.engine.detokenizer import decode_completion
from vqa.errors import InputError
from vqa.explain import explain
from vqa.explain.attention import _cells
from vqa.inputs.prompts import count_image_tokens, encode
from vqa.inputs.tiles import grid_pinpoints, prepare_crops
from vqa.models.checkpoints import LoadedModel, load, save
from vqa.models.llava import compose

KINDS = ("llava_1_5", "llava_interleave", "timm")
PICTURES = [noise(90, 70, 1), noise(20, 25, 2), noise(120, 60, 3)]  # 2 x 2 tiles, none, 1 x 2
Load = Callable[..., LoadedModel]


def write(directory: Path, kind: str) -> Path:
    if kind != "timm":
        return tiny.with_tiles(getattr(tiny, kind)(directory))
    vision = tiny.timm_vision(directory / "vision", "test_efficientnet", 64)
    made = compose(vision, tiny.language(directory / "language"), tiles=4)
    made.model.save_pretrained(directory / "model")
    made.processor.save_pretrained(directory / "model")
    return directory / "model"


@pytest.fixture(scope="module")
def directory_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of a tiny model of a kind, written once."""
    folder = tmp_path_factory.mktemp("tiled")
    written: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in written:
            written[kind] = write(folder / kind, kind)
        return written[kind]

    return get


def tokens_of(loaded: LoadedModel, request: Request) -> int:
    return sum(count_image_tokens(loaded.processor, request.images))


@torch.no_grad()
def generated(loaded: LoadedModel, request: Request) -> tuple[list[int], list[int]]:
    """What transformers alone writes, with the crops of all pictures as its pictures."""
    prompt = encode(loaded.processor, request.messages, add_generation_prompt=True).input_ids
    ids = torch.tensor([prompt])
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if request.images:
        pixels, _ = prepare_crops(loaded.processor.image_processor, request.images)
        inputs["pixel_values"] = pixels.to(loaded.model.dtype)
    new = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, len(prompt) :]
    return prompt, new.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_is_what_generate_gives(kind: str, load_tiny: Load) -> None:
    loaded = load_tiny(kind)
    engine = LocalEngine(loaded, prefix_bytes=0)
    written = []
    for request in mixed(PICTURES):
        prompt, ids = generated(loaded, request)
        (answer,) = engine.answer([request])
        text_ids = ids[:-1] if answer.finish_reason == "stop" else ids
        assert answer.text == decode_completion(loaded.processor.tokenizer, text_ids)
        assert answer.prompt_tokens == len(prompt) and answer.new_tokens == len(ids)
        assert answer.image_tokens == tokens_of(loaded, request)
        written.append(tuple(ids))
    assert len(set(written)) > 3  # the model does look at what it is given


@pytest.mark.parametrize("kind", KINDS)
def test_batched_equals_single_and_cached_equals_fresh(kind: str, load_tiny: Load) -> None:
    requests = mixed(PICTURES)
    engine = LocalEngine(load_tiny(kind))
    single = []
    for request in requests:
        engine.clear_caches()
        single += engine.answer([request])
    engine.clear_caches()
    same(engine.answer(requests), single)
    same(engine.answer(requests), single)  # on what the batch has left
    engine.clear_caches()
    same([engine.answer([request])[0] for request in requests], single)  # one on the other
    small = LocalEngine(load_tiny(kind), max_batch=2, feature_bytes=0, prefix_bytes=0)
    same(small.answer(requests), single)
    streamed = [piece for request in requests for piece in engine.stream(request)]
    same([piece for piece in streamed if not isinstance(piece, str)], single)


def test_a_further_turn_encodes_nothing_anew(load_tiny: Load) -> None:
    engine = LocalEngine(load_tiny("llava_1_5"))
    talk = ask("what is in the picture?", PICTURES[:1])
    engine.answer([talk])
    prefilled = engine.stats.prefilled_tokens
    engine.answer([ask("how many dogs are there?", PICTURES[:1])])
    assert engine.stats.encoded_pictures == 1
    assert engine.stats.prefilled_tokens - prefilled < 20 == 4 * 5  # fewer than its image tokens


def test_choices_and_beams(load_tiny: Load) -> None:
    loaded = load_tiny("llava_interleave")
    engine = LocalEngine(loaded)
    requests = [ask("is it red?", [picture]) for picture in PICTURES]
    together = engine.score_choices(requests, [["yes", "no it is not"]] * 3)
    engine.clear_caches()
    alone = [engine.score_choices([request], [["yes", "no it is not"]])[0] for request in requests]
    assert np.allclose(together, alone, atol=1e-3) and len({one[0] for one in alone}) == 3
    (answer,) = engine.answer([ask("is it red?", PICTURES[:1], num_beams=3)])
    assert answer.image_tokens == 20


def test_tiles_tell_what_the_overview_does_not(load_tiny: Load) -> None:
    """Two pictures whose overviews are alike: their tiles are not."""
    loaded = load_tiny("llava_1_5")
    fine = noise(112, 112, 7)
    coarse = fine.resize((28, 28), Image.Resampling.BICUBIC).resize((112, 112))
    choices = ["a cat", "red"]
    tiled, plain = LocalEngine(loaded), load_tiny("llava_1_5")
    del plain.processor.image_processor.image_grid_pinpoints

    def apart(engine: LocalEngine) -> float:
        scores = engine.score_choices(
            [ask("what?", [one]) for one in (fine, coarse)], [choices] * 2
        )
        return float(np.abs(np.diff(scores, axis=0)).max())

    assert apart(tiled) > 2 * apart(LocalEngine(plain))


def test_a_conversation_that_is_too_long_is_refused_by_its_tokens(load_tiny: Load) -> None:
    loaded = load_tiny("llava_1_5")
    two, three = ask("what?", [PICTURES[0], PICTURES[2]]), ask("what?", [PICTURES[0]] * 3)
    (answer,) = LocalEngine(loaded).answer([two])
    assert answer.image_tokens == 20 + 12
    loaded.model.config.text_config.max_position_embeddings = answer.prompt_tokens + 20
    engine = LocalEngine(loaded)
    assert engine.answer([two])[0].text == answer.text
    with pytest.raises(InputError, match="60 of them for pictures"):
        engine.answer([three])


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_attention_lie_over_the_whole_picture(kind: str, load_tiny: Load) -> None:
    engine = LocalEngine(load_tiny(kind))
    request = ask("what is larger?", PICTURES)
    explained = explain(engine, request, "a cat")
    assert [one.values.shape for one in explained.maps] == [(4, 4), (2, 2), (2, 4)]
    for one, picture in zip(explained.maps, PICTURES, strict=True):
        assert one.over_picture().shape == (picture.height, picture.width)
    assert max(one.values.max() for one in explained.maps) == pytest.approx(1)
    assert explain(engine, ask("what?", PICTURES[:1]), "a cat", by="occlusion", grid=2).maps


def test_cells_of_tiles_and_overview() -> None:
    values = torch.arange(1 + 3 * 4, dtype=torch.float)[1:]  # of an overview and two tiles
    cells = _cells(values, 4, 1, 2)
    tiles = np.array([[5, 6, 9, 10], [7, 8, 11, 12]])
    overview = np.array([[1, 1, 2, 2], [3, 3, 4, 4]]) / 2
    assert np.array_equal(cells, tiles + overview) and cells.sum() == values.sum()
    assert _cells(torch.arange(5.0), 5, 1, 1).tolist() == [[1, 2], [3, 4]]  # behind a class token


def test_a_model_is_saved_with_its_tiles(
    directory_of: Callable[[str], Path], tmp_path: Path
) -> None:
    loaded = load(str(directory_of("llava_1_5")), device="cpu", dtype="float32")
    save(loaded, tmp_path / "saved")
    again = load(str(tmp_path / "saved"), device="cpu", dtype="float32")
    assert again.processor.image_processor.image_grid_pinpoints == grid_pinpoints(4, (28, 28))
    requests = mixed(PICTURES)
    same(LocalEngine(again).answer(requests), LocalEngine(loaded).answer(requests))
    identity, weights = again.identity, again.fingerprint
    path = tmp_path / "saved" / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    del settings["image_grid_pinpoints"]
    path.write_text(json.dumps(settings))
    plain = load(str(tmp_path / "saved"), device="cpu", dtype="float32")
    assert plain.identity != identity and plain.fingerprint == weights
    (answer,) = LocalEngine(plain).answer(requests[:1])
    assert answer.image_tokens == 4


def test_composing_says_how_many_tiles(tmp_path: Path) -> None:
    vision, language = tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l")
    without, with_tiles = (compose(vision, language, tiles=tiles) for tiles in (1, 3))
    assert not hasattr(without.processor.image_processor, "image_grid_pinpoints")
    assert count_image_tokens(with_tiles.processor, [noise(80, 20, 1)]) == [4 * 4]
    dinov2 = tiny.vision(tmp_path / "d", "dinov2")  # its processor makes 32 pixels and crops 28
    assert compose(dinov2, language).model is not None
    with pytest.raises(InputError, match="tiles would lose their edges"):
        compose(dinov2, language, tiles=4)


def test_commands(
    directory_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, picture = directory_of("llava_1_5"), tmp_path / "large.png"
    PICTURES[0].save(picture)
    asked = vqa_here(capsys, "ask", picture, "what is it?", "--model", model, "--json")
    assert asked.returncode == 0, asked
    assert json.loads(asked.stdout)["image_tokens"] == 20
    view = tmp_path / "view.png"
    shown = vqa_here(capsys, "doctor", picture, "--model", model, "--view", view)
    assert "56 x 56 pixels, in 2 x 2 tiles and as a whole" in shown.stdout, shown
    assert "20 tokens" in shown.stdout and Image.open(view).size == (56, 56)
    line = refused(vqa_here(capsys, "export", model, tmp_path / "out"))
    assert "tiles of large pictures are unknown to plain transformers" in line
    row = {"id": 1, "image": "large.png", "question": "what is it?", "answer": "a cat"}
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps(row) + "\n")
    preview = vqa_here(capsys, "data", "preview", data, "--model", model)
    assert "picture  20 tokens" in preview.stdout, preview
    checked = vqa_here(capsys, "data", "check", data, "--model", model, "--no-time", "--json")
    assert json.loads(checked.stdout)["tokens"]["images"] == 20, checked
