"""A run that was stopped, or is in progress, answers with its last checkpoint and says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.cli.run import refused, vqa_here
from tests.tiny import llava_1_5
from tests.training.scripted import Killed
from training.common.processes import refuse_second_training
from training.common.trainer import RowTrainer
from training.run import run
from vqa.errors import InputError
from vqa.models import checkpoints
from vqa.models.llava import compose
from vqa.models.runs import UnfinishedRun
from vqa.tools.inventory import list_models
from vqa.tools.merge import merge

RATES = {"learning_rate": {"projector": 0.02, "language": 0.02}}
QUESTION = "What colour is it?"


@pytest.fixture
def stopped(tmp_path, data, config):
    """Trains until step three has begun; the last checkpoint is that of step two."""

    def train(name: str = "run", kill: int = 2, **values: object) -> Path:
        original = RowTrainer.training_step

        def killed(self, *args, **kwargs):
            if self.state.global_step == kill:
                raise Killed
            return original(self, *args, **kwargs)

        out = tmp_path / name
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RowTrainer, "training_step", killed)
            values = {"data": data, "output": out, "epochs": 4, **RATES, **values}
            with pytest.raises(Killed):
                run(config(**values))
        return out

    return train


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return llava_1_5(tmp_path / "base")


def test_ask_answers_with_the_last_checkpoint_and_says_so(tmp_path, base, stopped, capsys):
    out = stopped(recipe="finetune", model=base)
    question = ("ask", tmp_path / "1.png", QUESTION, "--dtype", "float32", "--max-new-tokens", "4")
    answer = vqa_here(capsys, *question, "--model", out)
    assert answer.returncode == 0
    assert answer.stderr.splitlines()[0] == (
        f"vqa: {out} is not finished: this is its last checkpoint, of step 2 of 6"
    )
    assert "Traceback" not in answer.stderr
    same = vqa_here(capsys, *question, "--model", out / "checkpoint-2")
    assert (same.stdout, "not finished" in same.stderr) == (answer.stdout, False)
    with refuse_second_training(out):  # while another process trains it
        assert vqa_here(capsys, *question, "--model", out).stdout == answer.stdout
    over = vqa_here(capsys, *question, "--model", base, "--adapter", out)
    assert over.stdout == answer.stdout


def test_a_run_without_a_checkpoint_says_what_is_missing(tmp_path, base, stopped, capsys):
    out = stopped(recipe="finetune", model=base, kill=0)
    for command in (
        ("ask", tmp_path / "1.png", QUESTION, "--model", out),
        ("predict", "--data", tmp_path / "train.jsonl", "--model", out, "--out", tmp_path / "p"),
        ("app", "--model", out),
        ("merge", out, tmp_path / "merged"),
        ("average", out, out, "--out", tmp_path / "mean"),
        ("models", "info", out),
    ):
        line = refused(vqa_here(capsys, *command))
        assert "this run is not finished and has no checkpoint yet" in line
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("language", ["lora", "full"])
def test_what_is_loaded_are_the_weights_of_the_checkpoint(base, stopped, language):
    out = stopped(recipe="finetune", model=base, train={"language": language})
    with pytest.warns(UnfinishedRun, match="of step 2 of 6"):
        loaded = checkpoints.load(str(out), dtype="float32")
    assert loaded.name == str(out / "checkpoint-2")
    state = loaded.model.state_dict()
    before = checkpoints.load(str(base), dtype="float32").model.state_dict()
    changed = [name for name in before if not torch.equal(before[name], state[name])]
    assert changed and not any("vision_tower" in name for name in changed)
    if language == "full":
        trained = load_file(out / "checkpoint-2" / "trained.safetensors")
        assert all(torch.equal(state[name], value) for name, value in trained.items())
    assert checkpoints.load_config_and_processor(str(out))[0].model_type == "llava"


def test_a_pretraining_that_was_stopped_is_loaded(tmp_path, stopped):
    parts = {"vision": tiny.vision(tmp_path / "v", "clip"), "language": tiny.language(tmp_path)}
    out = stopped(recipe="pretrain", **parts)
    with pytest.warns(UnfinishedRun):
        state = checkpoints.load(str(out), dtype="float32").model.state_dict()
    trained = load_file(out / "checkpoint-2" / "trained.safetensors")
    assert all("multi_modal_projector" in name for name in trained)
    fresh = compose(parts["vision"], parts["language"]).model.state_dict()
    assert all(torch.equal(state[name], trained.get(name, fresh[name])) for name in fresh)


def test_a_finished_run_that_was_made_longer_answers_with_its_newer_weights(
    tmp_path, base, stopped, config, data
):
    values = {"recipe": "finetune", "model": base, "validation": {"share": 0}, **RATES}
    out = tmp_path / "run"
    run(config(data=data, output=out, max_steps=2, **values))
    stopped(kill=3, max_steps=5, save_every=1, **values)
    with pytest.warns(UnfinishedRun, match="of step 3 of 5"):
        assert checkpoints.load(str(out)).name == str(out / "checkpoint-3")


def test_killed_while_its_end_is_written_it_is_only_to_be_written(tmp_path, base, data, config):
    values = {"recipe": "finetune", "model": base, "data": data, "validation": {"share": 0}}
    run(config(**values, output=tmp_path / "whole"))
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.sft.trainer.record_base", killed_at_the_end)
        with pytest.raises(Killed):
            run(config(**values, output=out))
    assert not (out / "adapter_config.json").exists()
    run(config(**values, output=out))
    one, two = (load_file(path / "adapter_model.safetensors") for path in (tmp_path / "whole", out))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert checkpoints.load(str(out)).name == str(out)


def killed_at_the_end(directory: Path, base: str, identity: str) -> None:
    if not directory.name.startswith("checkpoint-"):
        raise Killed
    checkpoints.record_base(directory, base, identity)


def test_merge_and_average_take_it_with_the_same_line(tmp_path, base, stopped):
    one = stopped("one", recipe="finetune", model=base)
    two = tmp_path / "two"
    shutil.copytree(one, two)
    with pytest.warns(UnfinishedRun, match="one is not finished"):
        merged = merge(str(one), tmp_path / "merged", dtype="float32")
    assert merged.exact.same_answers == merged.exact.questions
    from vqa.tools.average import average

    with pytest.warns(UnfinishedRun, match="two is not finished"):
        average([str(one), str(two)], tmp_path / "mean")
    mean = load_file(tmp_path / "mean" / "adapter_model.safetensors")
    its = load_file(one / "checkpoint-2" / "adapter_model.safetensors")
    assert all(torch.equal(mean[name], value) for name, value in its.items())


def test_it_is_listed_and_refused_where_its_weights_would_change(tmp_path, base, stopped, config):
    out = stopped(recipe="finetune", model=base)
    (listed,) = [entry for entry in list_models(tmp_path) if entry.name == "run"]
    assert listed.state.endswith("not finished: step 2")
    data = tmp_path / "train.jsonl"
    values = {"recipe": "finetune", "data": data, "output": tmp_path / "next"}
    for key in ("model", "adapter"):
        with pytest.raises(InputError, match=rf"{key}=.*run: this run is not finished"):
            run(config(**values | {"model": base} | {key: out}))


def test_on_another_base_it_is_refused(tmp_path, base, stopped):
    out = stopped(recipe="finetune", model=base)
    shutil.rmtree(base)
    llava_1_5(base, shards=1)
    assert json.loads((out / "checkpoint-2" / "vqa.json").read_text())["base"] == str(base)
    with pytest.warns(UnfinishedRun), pytest.raises(InputError, match="was trained on"):
        checkpoints.load(str(out))
