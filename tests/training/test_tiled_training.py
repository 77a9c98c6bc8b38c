"""Training models whose large pictures have tiles, by features and by pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.cli.run import vqa_here
from tests.engine.test_engine import ask
from tests.training.conftest import Config
from tests.vlm_checks import noise
from tests.vlm_training import Killed
from training.common.trainer import RowTrainer
from training.common.views import WHOLE
from training.run import run
from training.sft.finetune import FinetuneRecipe
from training.sft.settings import FinetuneSettings
from training.sft.trainer import token_losses
from vqa.data import read
from vqa.data.encoding import encode_row
from vqa.engine import LocalEngine
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.inputs.tiles import prepare_crops
from vqa.models import checkpoints, runs
from vqa.tools.merge import merge

SIZES = [(90, 70), (20, 25), (120, 60), (60, 120), (28, 28), (300, 40)]
CROPS = [5, 1, 3, 3, 1, 5]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures of many sizes, two questions about each, one row about two and one about none."""
    for number, size in enumerate(SIZES):
        noise(*size, number).save(tmp_path / f"{number}.png")
    rows: list[dict[str, Any]] = [
        {"image": f"{number}.png", "question": question, "answer": answer}
        for number in range(len(SIZES))
        for question, answer in (("what is it?", f"a cat, {number}"), ("is it red?", "no"))
    ]
    rows.append({"image": ["0.png", "2.png"], "question": "which is larger?", "answer": "one"})
    rows.append({"image": [], "question": "yes, or no?", "answer": "no"})
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.with_tiles(tiny.llava_1_5(tmp_path / "base"))


def recipe_of(base: Path, data: Path, **more: Any) -> FinetuneRecipe:
    values = {"recipe": "finetune", "model": str(base), "data": data, "epochs": 1,
              "output": data.parent / "run", "device": "cpu", "dtype": "float32",
              "row_tokens": 128, "validation": {"share": 0}}  # fmt: skip
    return FinetuneRecipe(FinetuneSettings.model_validate(values | more))


@pytest.mark.parametrize("pixels", [False, True], ids=["features", "pixels"])
def test_the_loss_of_packed_rows_is_that_of_transformers_on_each_row(
    pixels: bool, base: Path, data: Path
) -> None:
    recipe = recipe_of(base, data, train={"vision": pixels})
    plan = recipe.plan()
    model = recipe.build(plan).eval()
    rows = recipe.row_maker(plan, model)(plan.tokens, plan.groups, plan.layout, lambda _: WHOLE)
    packed, expected = 0.0, 0.0
    with torch.no_grad():
        with recipe.while_training(model):
            for index in range(len(rows)):
                row = rows[index]
                ids = row["input_ids"]
                tokens = int((ids == model.config.image_token_id).sum())
                assert tokens == 4 * len(row.get("pixel_values", ()))
                losses, weights = token_losses(model, row, model.lm_head)
                packed += float((losses * weights).sum())
        processor = recipe.processor
        for example in read(data, bad=lambda row: pytest.fail(row.reason)):
            one = encode_row(example, processor)
            pairs = zip(one.input_ids, one.loss_mask, strict=True)
            labels = [token if in_loss else -100 for token, in_loss in pairs]
            inputs: dict[str, Any] = {}
            if example.images:
                pictures = [load_image(path) for path in example.images]
                crops, counts = prepare_crops(processor.image_processor, pictures)
                inputs["pixel_values"] = crops
                assert one.input_ids.count(processor.image_token_id) == 4 * sum(counts)
            output = model(
                input_ids=torch.tensor([one.input_ids]), labels=torch.tensor([labels]), **inputs
            )
            expected += float(output.loss) * sum(one.loss_mask) ** 0.5
    assert len(rows) > 2 and packed == pytest.approx(expected, rel=1e-4)


def test_features_are_stored_by_crop_and_apart_from_those_of_whole_pictures(
    base: Path, data: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(base, data)
    plan = recipe.plan()
    recipe.row_maker(plan, recipe.build(plan))
    (directory,) = (tmp_path / "cache" / "features").iterdir()
    (file,) = directory.glob("*.safetensors")
    stored = load_file(file)
    prints = plan.fingerprints
    counts = {key: len(stored[prints[str(data.parent / f"{key}.png")]]) for key in range(6)}
    assert [*counts.values()] == CROPS
    plain = tiny.llava_1_5(tmp_path / "plain")
    other = recipe_of(plain, data)
    other_plan = other.plan()
    other.row_maker(other_plan, other.build(other_plan))
    assert len([*(tmp_path / "cache" / "features").iterdir()]) == 2
    assert int(other_plan.tokens.lengths.sum()) < int(plan.tokens.lengths.sum())
    (file,) = set((tmp_path / "cache" / "features").rglob("*.safetensors")) - {file}
    assert {value.ndim for value in load_file(file).values()} == {2}  # as they always were


def test_it_learns_goes_on_after_a_kill_and_answers(
    base: Path, data: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = {"projector": 0.02, "language": 0.02}
    values = {"recipe": "finetune", "model": base, "data": data, "learning_rate": fast,
              "augment": {"views": 3, "mirror": True}, "save_every": 1, "max_steps": 4,
              "validation": {"share": 0.3, "max_new_tokens": 3}}  # fmt: skip
    run(config(output=tmp_path / "whole", **values))
    step = RowTrainer.training_step

    def killed(self: RowTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 2:
            raise Killed
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(RowTrainer, "training_step", killed)
        with pytest.raises(Killed):
            run(config(output=tmp_path / "broken", **values))
    run(config(output=tmp_path / "broken", **values))
    one, two = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("whole", "broken"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").open()]
    measured = [entry["eval_loss"] for entry in log if "eval_loss" in entry]
    assert measured[-1] < measured[0]
    report = merge(str(tmp_path / "whole"), tmp_path / "merged")
    assert report.exact.logits < 1e-3 and report.exact.same_answers == report.exact.questions
    loaded = checkpoints.load(str(tmp_path / "merged"), device="cpu", dtype="float32")
    (answer,) = LocalEngine(loaded).answer([ask("what is it?", [noise(90, 70, 0)])])
    assert answer.image_tokens == 4 * 5


def test_pretraining_makes_a_model_with_tiles(
    data: Path, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    vision, language = tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l")
    values = {"recipe": "pretrain", "vision": vision, "language": language, "data": data,
              "projector_start": "words", "validation": {"share": 0}}  # fmt: skip
    out = tmp_path / "run"
    step = RowTrainer.training_step

    def killed(self: RowTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 3:
            raise Killed
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(RowTrainer, "training_step", killed)
        with pytest.raises(Killed):
            run(config(output=out, tiles=4, epochs=3, **values))
    with pytest.warns(runs.UnfinishedRun):
        unfinished = checkpoints.load(str(out), device="cpu", dtype="float32")
    assert len(prepare_crops(unfinished.processor.image_processor, [noise(90, 70, 0)])[0]) == 5
    with pytest.raises(InputError, match="holds a run with tiles=4, not 2"):
        run(config(output=out, tiles=2, epochs=3, **values))
    run(config(output=out, tiles=4, epochs=3, **values))
    asked = vqa_here(capsys, "ask", tmp_path / "0.png", "what?", "--model", out, "--json")
    assert json.loads(asked.stdout)["image_tokens"] == 4 * 5, asked


def test_a_run_from_before_there_were_tiles_goes_on(
    data: Path, config: Config, tmp_path: Path
) -> None:
    vision, language = tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l")
    values = {"recipe": "pretrain", "vision": vision, "language": language, "data": data,
              "validation": {"share": 0}, "output": tmp_path / "run"}  # fmt: skip
    run(config(max_steps=2, **values))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["settings"].pop("tiles") == 1
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    run(config(max_steps=3, **values))


def test_a_dry_run_counts_them(
    base: Path, data: Path, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config(recipe="finetune", model=base, data=data, output=tmp_path / "run"), dry_run=True)
    shown, _ = capsys.readouterr()
    assert "memory at its peak" in shown and not (tmp_path / "run").exists()


def test_a_picture_that_cannot_be_opened_is_named(
    base: Path, data: Path, config: Config, tmp_path: Path
) -> None:
    broken = tmp_path / "0.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(InputError, match="3 bad rows") as error:
        run(config(recipe="finetune", model=base, data=data, output=tmp_path / "run"))
    assert "\n" not in str(error.value)


def test_a_picture_of_another_size_has_its_tokens_made_again(base: Path, data: Path) -> None:
    before = recipe_of(base, data).plan().tokens.lengths.sum()
    noise(200, 200, 9).save(data.parent / "1.png")  # two rows of one crop have five
    assert recipe_of(base, data).plan().tokens.lengths.sum() == before + 2 * 4 * 4


def test_rows_that_tiles_make_too_long_are_named(base: Path, data: Path) -> None:
    settings = json.loads((base / "config.json").read_text())
    settings["text_config"]["max_position_embeddings"] = 45
    (base / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="the model takes 45"):
        recipe_of(base, data).plan()
