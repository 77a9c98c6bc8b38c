"""Killed at any moment, on a full disk, or asked to go on as another run."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.cli.run import environment
from tests.tiny import llava_1_5
from training.common.processes import refuse_second_training
from training.common.resume import remove_partial_checkpoints
from training.run import run
from vqa.errors import InputError, VQAError
from vqa.models.runs import last_checkpoint

RATES = {"projector": 0.01, "language": 0.01}


def test_a_half_written_checkpoint_does_not_count(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        path = tmp_path / f"checkpoint-{step}"
        path.mkdir()
        (path / "trainer_state.json").write_text('{"global_step": 1}' if step != 10 else '{"glob')
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert (tmp_path / "checkpoint-10").exists()
    (tmp_path / "checkpoint-20-copy").mkdir()  # a user's
    remove_partial_checkpoints(tmp_path)
    assert not (tmp_path / "checkpoint-10").exists()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert (tmp_path / "checkpoint-20-copy").exists()
    remove_partial_checkpoints(tmp_path / "nowhere")
    assert last_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.slow
@pytest.mark.parametrize("train", ["lora", "full"])
def test_killed_again_and_again_it_ends_like_an_unbroken_run(tmp_path, data, config, train):
    values = {"recipe": "finetune", "model": llava_1_5(tmp_path / "base"), "data": data,
              "epochs": 4, "save_every": 1, "learning_rate": RATES, "train": {"language": train},
              "lora": {"dropout": 0.1},
              "validation": {"share": 0.3, "every": 3, "max_new_tokens": 2}}  # fmt: skip
    run(config(**values, output=tmp_path / "whole"))
    broken = tmp_path / "broken"
    path = config(**values, output=broken)
    command = [sys.executable, "-m", "vqa", "train", path]
    kills = 0
    for saved in (1, 3):  # as soon as this many steps are saved
        process = subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            step = last_step(broken)
            if step >= saved:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        process.wait()
    assert kills
    run(path)
    name = "adapter_model.safetensors" if train == "lora" else "model.safetensors"
    one, two = (load_file(tmp_path / out / name) for out in ("whole", "broken"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    logs = [losses(tmp_path / out / "log.jsonl") for out in ("whole", "broken")]
    assert logs[0] == logs[1]


def test_a_run_does_not_go_on_with_other_pictures(tmp_path, data, config):
    """Which ones are measured is drawn by their content: others would be than before."""
    values = {"recipe": "finetune", "model": str(llava_1_5(tmp_path / "base")), "data": str(data),
              "output": tmp_path / "run", "validation": {"share": 0.3}}  # fmt: skip
    run(config(**values, max_steps=2))
    moved = shutil.copytree(data.parent, tmp_path / "moved", ignore=lambda *_: ["base", "run"])
    run(config(**values, max_steps=3, images=str(moved)))  # the same ones elsewhere
    picture = next(moved.glob("**/*.png"))
    Image.new("RGB", (21, 20), "purple").save(picture)
    with pytest.raises(InputError, match="holds a run with other pictures"):
        run(config(**values, max_steps=4, images=str(moved)))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    del record["pictures_fingerprint"]  # as earlier versions wrote it
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    run(config(**values, max_steps=4, images=str(moved)))


def last_step(output: Path) -> int:
    states = output.glob("checkpoint-*/trainer_state.json")
    return max((int(path.parent.name.rsplit("-", 1)[1]) for path in states), default=0)


def losses(path: Path) -> list[tuple[int, float]]:
    rows = map(json.loads, path.read_text().splitlines())
    keys = ("loss", "eval_loss")
    return [(row["step"], row[key]) for row in rows for key in keys if key in row]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, r"model=.*base, not .*other"),
        ({"lora": {"rank": 4}}, "with lora="),
        ({"seed": 3}, "with seed=0, not 3"),
        ({"data": "other.jsonl"}, "data_fingerprint="),
        ({"validation": {"share": 0.4}}, "with validation.share=0.0, not 0.4"),
    ],
)
def test_another_run_is_not_gone_on_with(tmp_path, data, config, change, message):
    base = llava_1_5(tmp_path / "base")
    out = tmp_path / "run"
    values = {"recipe": "finetune", "model": str(base), "data": str(data), "max_steps": 2,
              "validation": {"share": 0}}  # fmt: skip
    run(config(**values, output=out))
    llava_1_5(tmp_path / "other")
    (tmp_path / "other.jsonl").write_text("\n".join(data.read_text().splitlines()[:4]))
    places = {k: str(tmp_path / v) if k in ("model", "data") else v for k, v in change.items()}
    before = (out / "adapter_model.safetensors").read_bytes()
    with pytest.raises(InputError, match=message) as error:
        run(config(**values | places, output=out))
    assert "another output=" in str(error.value) and "\n" not in str(error.value)
    assert (out / "adapter_model.safetensors").read_bytes() == before


def test_another_run_is_refused_before_any_work(tmp_path, data, config, monkeypatch):
    values = {"recipe": "finetune", "model": llava_1_5(tmp_path / "base"), "data": data,
              "output": tmp_path / "run", "max_steps": 1, "validation": {"share": 0}}  # fmt: skip
    run(config(**values))
    monkeypatch.setattr(
        "training.sft.finetune.FinetuneRecipe.plan", lambda self: pytest.fail("read")
    )
    with pytest.raises(InputError, match="with seed=0, not 1"):
        run(config(**values, seed=1))


def test_a_second_training_into_the_same_directory_is_refused(tmp_path, data, config):
    path = config(recipe="finetune", model="m", data=data, output=tmp_path / "run")
    with (
        refuse_second_training(tmp_path / "run"),
        pytest.raises(InputError, match="another training writes there"),
    ):
        run(path)
    with pytest.raises(InputError, match="m: no such directory"):
        run(path)


def test_a_finished_run_is_not_trained_again_but_can_be_longer(tmp_path, data, config, capsys):
    values = {"recipe": "finetune", "model": llava_1_5(tmp_path / "base"), "data": data,
              "validation": {"share": 0}, "output": tmp_path / "run", "epochs": 9}  # fmt: skip
    run(config(**values, max_steps=2))
    before = os.stat(tmp_path / "run" / "log.jsonl").st_mtime_ns
    run(config(**values, max_steps=2))
    assert "finished" in capsys.readouterr().out
    assert os.stat(tmp_path / "run" / "log.jsonl").st_mtime_ns == before
    run(config(**values, max_steps=4))
    assert [step for step, _ in losses(tmp_path / "run" / "log.jsonl")] == [1, 2, 3, 4]


def test_a_finished_run_without_checkpoints_is_not_overwritten(tmp_path, data, config):
    out = tmp_path / "run"
    values = {"recipe": "finetune", "model": llava_1_5(tmp_path / "base"), "data": data,
              "validation": {"share": 0}, "output": out}  # fmt: skip
    run(config(**values, max_steps=2))
    shutil.rmtree(out / "checkpoint-2")
    before = (out / "adapter_model.safetensors").read_bytes()
    with pytest.raises(InputError, match="with seed=0, not 1"):
        run(config(**values, max_steps=2, seed=1))
    with pytest.raises(InputError, match="finished run without checkpoints"):
        run(config(**values, max_steps=3))
    run(config(**values, max_steps=2))
    assert (out / "adapter_model.safetensors").read_bytes() == before


def test_best_weights_of_an_earlier_start_do_not_count(tmp_path, data, config):
    """They were stored behind the checkpoint that the run goes on from."""
    values = {"recipe": "finetune", "model": llava_1_5(tmp_path / "base"), "data": data,
              "epochs": 2, "validation": {"share": 0.3, "max_new_tokens": 2}}  # fmt: skip
    run(config(**values, output=tmp_path / "whole"))
    stale = tmp_path / "run" / "best-1000"
    stale.mkdir(parents=True)
    run(config(**values, output=tmp_path / "run"))
    assert not stale.exists()
    name = "adapter_model.safetensors"
    one, two = (load_file(tmp_path / out / name) for out in ("whole", "run"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, data, config, monkeypatch):
    out = tmp_path / "run"
    values = {"recipe": "finetune", "model": llava_1_5(tmp_path / "base"), "data": data,
              "validation": {"share": 0}, "epochs": 9, "learning_rate": RATES}  # fmt: skip
    run(config(**values, output=out, max_steps=2))
    good = {path.name: path.read_bytes() for path in (out / "checkpoint-2").iterdir()}
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(VQAError, match=r"cannot save .*checkpoint-3.*checkpoint-2 is whole"):
            run(config(**values, output=out, max_steps=4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert {path.name: path.read_bytes() for path in (out / "checkpoint-2").iterdir()} == good
    assert not (out / "checkpoint-3").exists()
    run(config(**values, output=out, max_steps=4))
    assert [step for step, _ in losses(out / "log.jsonl")] == [1, 2, 3, 4]
