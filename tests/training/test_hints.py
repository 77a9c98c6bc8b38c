"""Training with what the encoder's classifier names in each picture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.reading.test_reader import line
from training.run import run
from training.sft.finetune import FinetuneRecipe
from training.sft.hints import PictureHints, blocks_before
from training.sft.settings import FinetuneSettings, HintTrainSettings
from vqa.answering import Request, SamplingParams
from vqa.data.example import Example
from vqa.engine import LocalEngine
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.models.checkpoints import load
from vqa.models.llava import compose
from vqa.models.model_files import CLASSIFIER, HINT_SETTINGS
from vqa.reading import TextReader

Settings = Callable[..., FinetuneSettings]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a timm tower and its classifier, not yet trained with hints."""
    folder = tmp_path_factory.mktemp("base")
    vision = tiny.timm_vision(folder / "v", "test_efficientnet", 128, (1, 2))
    composed = compose(vision, tiny.language(folder / "l"))
    composed.model.save_pretrained(folder / "model")
    composed.processor.save_pretrained(folder / "model")
    width = composed.model.model.vision_tower.backbone.num_features
    weight = 1e4 * torch.randn(1000, width, generator=torch.Generator().manual_seed(1))
    save_file({"weight": weight, "bias": torch.zeros(1000)}, folder / "model" / CLASSIFIER)
    return folder / "model"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty pictures of noise with two questions each."""
    rows = []
    for number in range(40):
        noise = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        for turn in range(2):
            rows.append({"id": f"{number}-{turn}", "image": f"{number}.png",
                         "question": f"What {turn}?", "answer": f"it {number % 3}"})  # fmt: skip
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def settings(base: Path, photos: Path, tmp_path: Path) -> Settings:
    def make(**changes: Any) -> FinetuneSettings:
        values: dict[str, Any] = {
            "recipe": "finetune", "model": str(base), "data": str(photos), "device": "cpu",
            "output": str(tmp_path / "run"), "row_tokens": 256, "rows_per_step": 2, "max_steps": 3,
            "dtype": "float32", "log_every": 1, "validation": {"share": 0.2, "rows": 4},
            "hints": {},
        }  # fmt: skip
        return FinetuneSettings.model_validate(values | changes)

    return make


def start(settings: FinetuneSettings, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(settings.model_dump_json())
    run(str(path))
    return settings.output


def texts(recipe: FinetuneRecipe) -> dict[str, str]:
    """The prompt of each first question by the picture's name."""
    plan = recipe.plan()
    tokens, tokenizer = plan.tokens, recipe.processor.tokenizer
    rows = (tokens[row] for row in range(0, len(tokens), 2))
    return {Path(row.images[0]).name: tokenizer.decode(row.input_ids) for row in rows}


def test_training_reads_what_answering_reads(settings: Settings, photos: Path) -> None:
    recipe = FinetuneRecipe(settings(hints={"drop": 0, "swap": 0}))
    prompts = texts(recipe)
    engine = LocalEngine(replace(recipe.loaded, classifier=recipe.classifier))
    for name, prompt in list(prompts.items())[:5]:
        request = Request((Message("user", "What 0?", (load_image(photos.parent / name),)),))
        (hinted,), _ = engine.with_hints([request])
        assert hinted.messages[0].text.startswith("[names: ")
        assert hinted.messages[0].text in prompt


def test_a_picture_with_tiles_is_named_by_the_whole_of_it(
    settings: Settings, base: Path, photos: Path, tmp_path: Path
) -> None:
    tiled = tiny.with_tiles(Path(shutil.copytree(base, tmp_path / "tiled")))
    for number in range(2):
        path = photos.parent / f"{number}.png"
        Image.open(path).resize((300, 260)).save(path)
    whole = texts(FinetuneRecipe(settings(hints={"drop": 0, "swap": 0})))
    recipe = FinetuneRecipe(settings(model=str(tiled), hints={"drop": 0, "swap": 0}))
    engine = LocalEngine(replace(recipe.loaded, classifier=recipe.classifier))
    for name, prompt in list(texts(recipe).items())[:4]:
        tiles = 4 if name in ("0.png", "1.png") else 0
        assert prompt.count("<image>") == (1 + tiles) * whole[name].count("<image>") > 0
        request = Request((Message("user", "What 0?", (load_image(photos.parent / name),)),))
        (hinted,), _ = engine.with_hints([request])
        assert hinted.messages[0].text.startswith("[names: ")
        assert hinted.messages[0].text in prompt


def test_some_pictures_get_no_names_and_some_those_of_another(settings: Settings) -> None:
    right = texts(FinetuneRecipe(settings(hints={"drop": 0, "swap": 0})))
    varied = texts(FinetuneRecipe(settings(hints={"drop": 0.3, "swap": 0.3})))
    dropped = [name for name in varied if "[names" not in varied[name]]
    other = [n for n in varied if n not in dropped and varied[n] != right[n]]
    assert 4 <= len(dropped) <= 22 and 4 <= len(other) <= 22
    assert varied == texts(FinetuneRecipe(settings(hints={"drop": 0.3, "swap": 0.3})))
    assert varied != texts(FinetuneRecipe(settings(hints={"drop": 0.3, "swap": 0.3}, seed=1)))


def test_questions_about_a_picture_share_its_names(settings: Settings) -> None:
    plan = FinetuneRecipe(settings(hints={"drop": 0, "swap": 0})).plan()
    tokens = plan.tokens
    lengths = {tokens.prefix_length(row) for row in range(len(tokens))}
    image = 16 + 1  # image tokens and the line break before the block, at least
    assert min(lengths) > image
    keys = tokens.arrays["prefix_keys"]
    assert all(keys[row] == keys[row + 1] for row in range(0, len(tokens), 2))
    assert len(set(keys.tolist())) == len(tokens) // 2


def test_a_run_with_hints_is_told_of_them_from_then_on(
    settings: Settings, photos: Path, tmp_path: Path
) -> None:
    out = start(settings(), tmp_path)
    for directory in (out, *out.glob("checkpoint-*")):
        assert json.loads((directory / HINT_SETTINGS).read_text()) == {
            "most": 3, "least": 0.08, "parts": 0.6
        }  # fmt: skip
    loaded = load(str(out), device="cpu", dtype="float32")
    assert loaded.classifier is not None
    picture = load_image(photos.parent / "0.png")
    request = Request((Message("user", "What 0?", (picture,)),), SamplingParams(max_new_tokens=4))
    (answer,) = LocalEngine(loaded).answer([request])
    assert answer.hints[0].startswith("[names: ")
    # a run that goes on from it needs no word of the config
    again = settings(hints=None, adapter=str(out), output=str(tmp_path / "again"))
    recipe = FinetuneRecipe(again)
    assert all("[names" in prompt for prompt in texts(recipe).values())
    assert (start(again, tmp_path) / HINT_SETTINGS).is_file()


def test_without_hints_nothing_changes(settings: Settings, tmp_path: Path) -> None:
    recipe = FinetuneRecipe(settings(hints=None))
    assert not any("[names" in prompt for prompt in texts(recipe).values())
    assert recipe.classifier is None and recipe.picture_hints() is None
    out = start(settings(hints=None), tmp_path)
    assert not (out / HINT_SETTINGS).exists()
    assert load(str(out), device="cpu").classifier is None


def test_a_whole_model_keeps_its_classifier(settings: Settings, tmp_path: Path) -> None:
    out = start(settings(train={"language": "full"}), tmp_path)
    assert load_file(out / CLASSIFIER).keys() == {"weight", "bias"}
    assert load(str(out), device="cpu").classifier is not None


@pytest.mark.parametrize("language", ["lora", "full", "frozen"])
def test_an_unfinished_run_answers_with_names(
    settings: Settings, tmp_path: Path, language: str
) -> None:
    out = start(settings(train={"language": language}, save_every=1), tmp_path)
    record = json.loads((out / "run.json").read_text()) | {"finished": False}
    (out / "run.json").write_text(json.dumps(record))
    assert load(str(out), device="cpu").classifier is not None


def test_a_picture_that_was_exchanged_is_named_anew(settings: Settings, photos: Path) -> None:
    as_they_are = {"drop": 0, "swap": 0}
    before = texts(FinetuneRecipe(settings(hints=as_they_are)))
    noise = np.random.default_rng(99).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos.parent / "0.png")
    after = texts(FinetuneRecipe(settings(hints=as_they_are)))
    assert [name for name in before if before[name] != after[name]] == ["0.png"]


def test_a_longer_run_goes_on_with_the_same_names(settings: Settings, tmp_path: Path) -> None:
    out = start(settings(max_steps=2), tmp_path)
    start(settings(max_steps=3), tmp_path)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3]
    assert len([*(tmp_path / "cache" / "tokens").glob("[0-9a-f]*")]) == 1  # made once
    with pytest.raises(InputError, match="holds a run with hints"):
        start(settings(max_steps=3, hints={"drop": 0.5}), tmp_path)


def test_a_model_without_a_classifier_is_refused(tmp_path: Path, settings: Settings) -> None:
    model = tiny.llava_1_5(tmp_path / "llava")
    with pytest.raises(InputError, match="is missing"):
        FinetuneRecipe(settings(model=str(model))).plan()


def test_the_settings_of_hints() -> None:
    assert HintTrainSettings().drop == 0.12
    with pytest.raises(ValueError):
        HintTrainSettings(most=0)


def test_a_row_brings_names_of_its_own() -> None:
    hints = object.__new__(PictureHints)
    hints._blocks = {"a.png": "[names: surely cat]"}
    row = Example("1", ("a.png",), "What is this?", ("lynx",))
    assert hints.of(row) == ["[names: surely cat]"]
    given = replace(row, extra={"hint_names": [["lynx", 0.6], ["tabby", 0.1]]})
    assert hints.of(given) == ["[names: likely lynx; maybe tabby]"]
    assert hints.of(replace(row, extra={"hint_names": []})) == [""]
    for wrong in (3, [1], "lynx", [["lynx", "much"]], [["lynx"]]):
        with pytest.raises(InputError, match="hint_names"):
            hints.of(replace(row, extra={"hint_names": wrong}))


def test_text_that_was_read_stands_there_too(settings: Settings, photos: Path) -> None:
    rows = [json.loads(line) for line in photos.read_text().splitlines()]
    for row in rows[:20]:
        row["hint_text"] = ["STOP", "5 | km"]
    rows[20]["hint_text"] = rows[21]["hint_text"] = []
    photos.write_text("".join(json.dumps(row) + "\n" for row in rows))
    both = texts(FinetuneRecipe(settings(hints={"drop": 0, "swap": 0})))
    alone = texts(FinetuneRecipe(settings(hints=None)))
    block = '[text: "STOP" / "5 | km"]\nWhat 0?'
    assert all(
        f"]\n{block}" in both[f"{n}.png"] and "[names: " in both[f"{n}.png"] for n in range(9)
    )
    assert all(f"\n{block}" in alone[f"{n}.png"] for n in range(9))
    assert not any(
        "[text" in prompts[f"{n}.png"] for n in range(10, 40) for prompts in (both, alone)
    )
    assert not any("[names" in prompt for prompt in alone.values())

    recipe = FinetuneRecipe(settings(hints={"drop": 0, "swap": 0}))
    reader = TextReader()
    reader.read = lambda picture: (line("STOP", 0), line("5", 50), line("km", 50, left=200))  # type: ignore[method-assign]
    engine = LocalEngine(replace(recipe.loaded, classifier=recipe.classifier), reader=reader)
    request = Request((Message("user", "What 0?", (load_image(photos.parent / "0.png"),)),))
    (hinted,), _ = engine.with_hints([request])
    assert hinted.messages[0].text in both["0.png"]  # character by character what answering has

    plan = FinetuneRecipe(settings(hints=None)).plan()
    shared = {plan.tokens.prefix_length(row) for row in range(20)}
    assert min(shared) > 16 + 10  # questions about a picture share its text


def test_text_of_another_kind_is_refused() -> None:
    row = Example("1", ("a.png",), "What is this?", ("lynx",))
    for wrong in ("STOP", [1], [["STOP"]], {"a": 1}):
        with pytest.raises(InputError, match="hint_text"):
            blocks_before(replace(row, extra={"hint_text": wrong}), None)
    two = replace(row, images=("a.png", "b.png"), extra={"hint_text": ["STOP"]})
    assert blocks_before(two, None) == ["", ""]
