"""Several processes train as one does, and the recipes start as modules too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import llava_1_5

_ONE = ["-m", "training.finetune"]
_TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
_TWO += ["-m", "vqa", "train"]


def train(tmp_path: Path, name: str, launcher: list[str], *more: str) -> list[float]:
    """The losses of a short run, started from the command line."""
    settings = {
        "recipe": "finetune", "model": tmp_path / "base", "data": tmp_path / "train.jsonl",
        "output": tmp_path / name, "epochs": 2, "row_tokens": 64, "rows_per_step": 4,
        "warmup_ratio": 0, "log_every": 1, "dtype": "float32", "device": "cpu",
    }  # fmt: skip
    command = [sys.executable, *launcher, "finetune"]
    command += [*(f"{key}={value}" for key, value in settings.items()), *more]
    environment = {**os.environ, "VQA_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / name / "log.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, log) if "loss" in entry]


@pytest.mark.parametrize("vision", ["false", "true"])
def test_two_processes_give_the_losses_of_one(tmp_path: Path, vision: str) -> None:
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
    learns = f"train.vision={vision}"
    one, two = train(tmp_path, "one", _ONE, learns), train(tmp_path, "two", _TWO, learns)
    for name, processes in (("one", 1), ("two", 2)):
        assert json.loads((tmp_path / name / "run.json").read_text())["processes"] == processes
    assert len(one) >= 3
    assert all(abs(a - b) < 1e-4 for a, b in zip(one, two, strict=True))


_SAVE = """
import sys
from pathlib import Path
import torch
from training.processes import leave
from transformers import LlamaConfig, LlamaForCausalLM
from vqa.conversion import make_config_portable, save_model

torch.distributed.init_process_group("gloo")
config = LlamaConfig(
    vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
)
directory = Path(sys.argv[1]) / str(torch.distributed.get_rank())
save_model(LlamaForCausalLM(config), directory)
make_config_portable(directory)
leave()
"""


def test_each_of_several_processes_can_make_a_model_for_all(tmp_path: Path) -> None:
    (tmp_path / "save.py").write_text(_SAVE)
    command = [sys.executable, *_TWO[:-3], str(tmp_path / "save.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for rank in "01":
        names = {path.name for path in (tmp_path / rank).iterdir()}
        assert {"config.json", "model.safetensors"} <= names
