"""Several processes train as one does, on one machine or two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.machines import two_machines
from tests.tiny import llava_1_5
from vqa.models.runs import last_checkpoint, step_of

_ONE = ["-m", "vqa", "train"]
_TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
_TWO += ["-m", "vqa", "train"]


def training(tmp_path: Path, name: str, launcher: list[str], *more: str) -> list[str]:
    """The command line of a short run."""
    settings = {
        "recipe": "finetune", "model": tmp_path / "base", "data": tmp_path / "train.jsonl",
        "output": tmp_path / name, "epochs": 2, "row_tokens": 64, "rows_per_step": 4,
        "warmup_ratio": 0, "log_every": 1, "dtype": "float32", "device": "cpu",
    }  # fmt: skip
    command = [sys.executable, *launcher, "finetune"]
    return [*command, *(f"{key}={value}" for key, value in settings.items()), *more]


def train(tmp_path: Path, name: str, launcher: list[str], *more: str) -> list[float]:
    """The losses of a short run, started from the command line."""
    command = training(tmp_path, name, launcher, *more)
    environment = {**os.environ, "VQA_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return losses(tmp_path / name)


def losses(run: Path) -> list[float]:
    log = (run / "log.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, log) if "loss" in entry]


def write_base_and_rows(tmp_path: Path) -> None:
    llava_1_5(tmp_path / "base")
    rows = [
        json.dumps({"id": f"t{index}", "image": [], "question": "Who?", "answer": "me " * 20})
        + "\n"
        for index in range(3)
    ]
    for index in range(16):
        colour = "red" if index % 2 else "blue"
        Image.new("RGB", (20 + index, 20), colour).save(tmp_path / f"{index}.png")
        question = "What colour is it?"
        row = {"id": index, "image": f"{index}.png", "question": question, "answer": colour}
        rows.append(json.dumps(row) + "\n")
    (tmp_path / "train.jsonl").write_text("".join(rows))


@pytest.mark.slow
@pytest.mark.parametrize("vision", ["false", "true"])
def test_two_processes_give_the_losses_of_one(tmp_path: Path, vision: str) -> None:
    write_base_and_rows(tmp_path)
    learns = f"train.vision={vision}"
    one, two = train(tmp_path, "one", _ONE, learns), train(tmp_path, "two", _TWO, learns)
    for name, processes in (("one", 1), ("two", 2)):
        assert json.loads((tmp_path / name / "run.json").read_text())["processes"] == processes
    assert len(one) >= 3
    assert all(abs(a - b) < 1e-4 for a, b in zip(one, two, strict=True))


@pytest.mark.slow
def test_two_machines_give_the_losses_of_one(tmp_path: Path) -> None:
    write_base_and_rows(tmp_path)
    with two_machines() as machines:
        processes = []
        for rank, machine in enumerate(machines):
            launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "2"]
            launcher += ["--machine_rank", str(rank), "--num_processes", "2"]
            launcher += ["--main_process_ip", machines[0].address, "--main_process_port", "29500"]
            launcher += ["--mixed_precision", "no", "--dynamo_backend", "no"]
            command = training(tmp_path, "machines", [*launcher, "-m", "vqa", "train"])
            # `--cpu` starts processes by another launcher, which wants mpirun
            extra = {"ACCELERATE_USE_CPU": "true", "VQA_CACHE": str(tmp_path / "cache")}
            processes.append(machine.start(command, extra))
        try:
            errors = [process.communicate(timeout=300)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert [process.returncode for process in processes] == [0, 0], errors
        assert all(machine.sent() > 100_000 for machine in machines)  # gradients, not greetings
    assert json.loads((tmp_path / "machines" / "run.json").read_text())["processes"] == 2
    one = train(tmp_path, "processes", _TWO)
    assert len(one) >= 3 and losses(tmp_path / "machines") == one


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_behind_one_step(tmp_path: Path) -> None:
    llava_1_5(tmp_path / "base")
    rows = ({"id": n, "image": [], "question": "Who?", "answer": f"me {n}"} for n in range(16))
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "run"
    settings = {
        "model": tmp_path / "base", "data": tmp_path / "train.jsonl", "output": out,
        "epochs": 400, "row_tokens": 64, "rows_per_step": 2, "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    command = [sys.executable, *_TWO, "finetune"]
    environment = {**os.environ, "VQA_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *(f"{key}={value}" for key, value in settings.items())],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and last_checkpoint(out) is None:
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children()
    second = next(one for one in workers if one.environ().get("RANK") == "1")
    second.send_signal(signal.SIGTERM)
    error = process.communicate()[1]
    checkpoint = last_checkpoint(out)
    assert checkpoint is not None
    assert f"vqa: stopped by SIGTERM behind step {step_of(checkpoint)} of" in error
    assert {path.name for path in checkpoint.glob("rng_state_*")} == {
        "rng_state_0.pth", "rng_state_1.pth"
    }  # fmt: skip
    assert not (out / "adapter_config.json").exists()


_SAVE = """
import sys
from pathlib import Path
import torch
from training.common.processes import shutdown_distributed
from transformers import LlamaConfig, LlamaForCausalLM
from vqa.models.bundled.conversion import make_config_portable, save_model

torch.distributed.init_process_group("gloo")
config = LlamaConfig(
    vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
)
directory = Path(sys.argv[1]) / str(torch.distributed.get_rank())
save_model(LlamaForCausalLM(config), directory)
make_config_portable(directory)
shutdown_distributed()
"""


@pytest.mark.slow
def test_each_of_several_processes_can_make_a_model_for_all(tmp_path: Path) -> None:
    (tmp_path / "save.py").write_text(_SAVE)
    command = [sys.executable, *_TWO[:-3], str(tmp_path / "save.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for rank in "01":
        names = {path.name for path in (tmp_path / rank).iterdir()}
        assert {"config.json", "model.safetensors"} <= names
