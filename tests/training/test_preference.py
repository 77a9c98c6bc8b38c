"""Learning from pairs of answers: the loss, what it changes, kills and wrong data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from tests.cli.run import refused, vqa_here
from tests.tiny import llava_1_5
from training.run import _recipe_class, run
from training.sft.packing import stack_rows
from training.sft.preference import PairRows, PreferenceRecipe, PreferenceSettings, pair_log_probs
from vqa.data.encoding import encode_row
from vqa.data.reading import read
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.models import checkpoints
from vqa.utils.config import load_config


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pictures of two colours, each question with a better and a worse answer."""
    rows: list[dict[str, Any]] = []
    for index in range(6):
        colour, other = ("red", "blue") if index % 2 else ("blue", "red")
        Image.new("RGB", (20 + index, 20), colour).save(tmp_path / f"{index}.png")
        for question, good, bad in (
            ("What colour is it?", colour, f"it may be {other}"),
            ("Is it red?", "yes" if colour == "red" else "no", "I cannot say"),
        ):
            rows.append(
                {"id": len(rows), "image": f"{index}.png", "question": question, "answer": good,
                 "rejected": bad}
            )  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe_of(config: str) -> PreferenceRecipe:
    return PreferenceRecipe(load_config(PreferenceSettings, config, []))


def test_the_numbers_are_those_of_each_answer_alone(tmp_path, pairs, config) -> None:
    """Packed branches, in the order of the pairs, as one forward pass of each answer."""
    recipe = recipe_of(
        config(recipe="preference", model=llava_1_5(tmp_path / "base"), data=pairs,
               output=tmp_path / "run", validation={"share": 0})
    )  # fmt: skip
    plan = recipe.plan()
    prepared = recipe.prepare(plan, recipe.build(plan))
    rows = prepared.train
    assert isinstance(rows, PairRows)

    expected = []
    model, processor = recipe.loaded.model, recipe.processor
    for example in read(pairs, pairs.parent):
        numbers = []
        for answer in (example.answers[0], example.extra["rejected"]):
            row = encode_row(
                type(example)(example.id, example.images, example.question, (answer,)), processor
            )
            image = load_image(example.images[0])
            pixels = processor.image_processor(image, return_tensors="pt")["pixel_values"]
            ids = torch.tensor([row.input_ids])
            with torch.no_grad():
                logits = model(input_ids=ids, pixel_values=pixels).logits[0].log_softmax(-1)
            mask = row.loss_mask
            numbers.append(
                sum(float(logits[n - 1, ids[0, n]]) for n in range(1, len(mask)) if mask[n])
            )
        expected.append(numbers)
    got = torch.cat([rows.reference[index] for index in range(len(rows))])
    assert len(got) == len(expected) == 12
    both = torch.tensor(sorted(got.tolist())), torch.tensor(sorted(expected))
    torch.testing.assert_close(*both, atol=1e-3, rtol=1e-4)


def test_the_loss_begins_at_log_two_and_the_better_answers_gain(tmp_path, pairs, config) -> None:
    out = tmp_path / "run"
    base = llava_1_5(tmp_path / "base")
    path = config(recipe="preference", model=base, data=pairs, output=out, epochs=6,
                  learning_rate={"projector": 0.002, "language": 0.002},
                  validation={"share": 0})  # fmt: skip
    run(path)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)  # nothing has changed yet
    assert losses[-1] < 0.5

    recipe = recipe_of(path)
    plan = recipe.plan()
    rows = recipe.prepare(plan, recipe.build(plan)).train
    assert isinstance(rows, PairRows)
    trained = checkpoints.load(str(out), dtype="float32").model.eval()
    for index in range(len(rows)):
        with torch.no_grad(), recipe.while_training(trained):
            gained = pair_log_probs(trained, rows[index], trained.lm_head) - rows.reference[index]
        assert (gained[:, 0] > gained[:, 1]).all()


def test_the_loss_is_that_of_the_paper(tmp_path, pairs, config) -> None:
    recipe = recipe_of(
        config(recipe="preference", model=llava_1_5(tmp_path / "base"), data=pairs, beta=0.3,
               rpo_alpha=0.5, output=tmp_path / "run", validation={"share": 0})
    )  # fmt: skip
    plan = recipe.plan()
    model = recipe.build(plan)
    rows = recipe.prepare(plan, model).train
    row = rows[0]
    row["reference"] = row["reference"] + torch.tensor([[0.5, -1.0]])

    class Trainer(recipe.trainer_class):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            self.settings, self.model = recipe.settings, model

    model.eval()
    with recipe.while_training(model):
        losses, weights = Trainer().row_losses(model, row)
    # the model is as it was: of the gains only the shift of the reference is left
    margin = torch.full_like(losses, -0.5 - 1.0)
    counts = torch.bincount(row["answers"]).view(-1, 2)[:, 0]
    chosen = (row["reference"][:, 0] - 0.5) / counts
    expected = -F.logsigmoid(0.3 * margin) - 0.5 * chosen
    torch.testing.assert_close(losses, expected, atol=1e-4, rtol=1e-4)
    assert weights.tolist() == [1.0] * len(losses)


def test_other_pictures_have_another_reference(tmp_path, pairs, config) -> None:
    """Under the same names, and whatever else the numbers depend on."""
    base = llava_1_5(tmp_path / "base")
    values = {"recipe": "preference", "model": base, "data": pairs, "output": tmp_path / "run",
              "validation": {"share": 0}}  # fmt: skip

    def reference(**more: Any) -> list[torch.Tensor]:
        recipe = recipe_of(config(**values, **more))
        plan = recipe.plan()
        rows = recipe.prepare(plan, recipe.build(plan)).train
        assert isinstance(rows, PairRows)
        return rows.reference

    before = reference()
    assert all(map(torch.equal, before, reference()))
    Image.new("RGB", (20, 20), "yellow").save(tmp_path / "0.png")
    assert not all(map(torch.equal, before, after := reference()))
    settings = json.loads((base / "preprocessor_config.json").read_text())
    settings["image_mean"] = [0.1, 0.2, 0.3]
    (base / "preprocessor_config.json").write_text(json.dumps(settings))
    assert not all(map(torch.equal, after, reference()))


def test_pairs_of_rows_in_one_pass(tmp_path, pairs, config) -> None:
    recipe = recipe_of(
        config(recipe="preference", model=llava_1_5(tmp_path / "base"), data=pairs, row_tokens=64,
               output=tmp_path / "run", validation={"share": 0})
    )  # fmt: skip
    plan = recipe.plan()
    model = recipe.build(plan)
    rows = recipe.prepare(plan, model).train
    alone = [rows[index] for index in range(3)]
    assert len({row["input_ids"].shape for row in alone}) > 1  # they are filled up
    with torch.no_grad(), recipe.while_training(model.eval()):
        log_probs = pair_log_probs(model, stack_rows(alone), model.lm_head)
    torch.testing.assert_close(log_probs, torch.cat([row["reference"] for row in alone]))


@pytest.mark.slow
def test_a_stopped_run_ends_like_an_unbroken_one(tmp_path, pairs, config) -> None:
    from training.common.trainer import RowTrainer

    base = llava_1_5(tmp_path / "base")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(config(recipe="preference", model=base, data=pairs, output=whole, epochs=3))
    path = config(recipe="preference", model=base, data=pairs, output=broken, epochs=3)
    original = RowTrainer.training_step

    class Killed(Exception):
        pass

    def killed_at_step_three(self, *args, **kwargs):
        if self.state.global_step == 3:
            raise Killed
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowTrainer, "training_step", killed_at_step_three)
        with pytest.raises(Killed):
            run(path)
    run(path)
    name = "adapter_model.safetensors"
    assert (whole / name).read_bytes() == (broken / name).read_bytes()
    assert (whole / "log.jsonl").read_text().count("eval_loss") > 0


@pytest.mark.parametrize(
    ("column", "reason"),
    [({}, "no rejected answer"), ({"rejected": " "}, "no rejected answer"),
     ({"rejected": ["a", "b"]}, "no rejected answer"), ({"rejected": "red"}, "is the preferred")],
)  # fmt: skip
def test_a_row_that_is_no_pair_is_refused_with_its_line(
    tmp_path, pairs, config, column, reason
) -> None:
    row = {"id": "x", "image": "1.png", "question": "Which?", "answer": "red", **column}
    pairs.write_text(pairs.read_text() + json.dumps(row) + "\n")
    path = config(recipe="preference", model=llava_1_5(tmp_path / "base"), data=pairs,
                  output=tmp_path / "run")  # fmt: skip
    with pytest.raises(InputError, match=rf"pairs.jsonl:13: .*{reason}"):
        run(path)


def test_rows_of_fine_tuning_are_refused_and_the_recipe_is_known(
    tmp_path, data, config, capfd
) -> None:
    assert _recipe_class("preference", "x") is PreferenceRecipe
    data.write_text(data.read_text().replace("rejected", "refused"))
    with pytest.raises(InputError, match="no rejected answer"):
        run(config(recipe="preference", model=llava_1_5(tmp_path / "base"), data=data,
                   output=tmp_path / "run"))  # fmt: skip
    assert "beta" in refused(vqa_here(capfd, "train", "preference", f"data={data}", "beta=0"))
