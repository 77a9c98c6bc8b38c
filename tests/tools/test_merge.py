"""A merged run answers like the run, and the difference is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

from tests.cli.run import refused, vqa_here
from tests.tiny import llava_1_5
from training.run import run
from vqa.models import checkpoints
from vqa.tools.merge import merge


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Makes a run of two steps that moves the weights far."""
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    rows = []
    for index in range(6):
        Image.new("RGB", (20 + index, 20), (40 * index, 10, 90)).save(tmp_path / f"{index}.png")
        row = {"image": f"{index}.png", "question": "What is it?", "answer": f"shade {index}"}
        rows.append(json.dumps(row) + "\n")
    (tmp_path / "data.jsonl").write_text("".join(rows))
    llava_1_5(tmp_path / "base")

    def make(**settings: object) -> Path:
        out = tmp_path / "run"
        values = {
            "recipe": "finetune", "model": str(tmp_path / "base"), "output": str(out),
            "data": str(tmp_path / "data.jsonl"), "max_steps": 3, "row_tokens": 64,
            "rows_per_step": 1, "warmup_ratio": 0, "device": "cpu", "dtype": "float32",
            "learning_rate": {"projector": 0.02, "language": 0.02},
            "validation": {"share": 0.3, "max_new_tokens": 2}, **settings,
        }  # fmt: skip
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(values))
        run(str(path))
        return out

    return make


@pytest.mark.parametrize("kind", ["lora", "dora", "rslora"])
def test_merged_is_the_run_in_a_plain_directory(tmp_path: Path, trained, kind: str) -> None:
    run_directory = trained(lora={"kind": kind})
    report = merge(str(run_directory), tmp_path / "out", dtype="float32")
    assert report.exact.logits < 1e-4 and report.stored.logits < 1e-4
    assert report.exact.same_answers == report.exact.questions > 0
    plain = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out")
    whole = checkpoints.load(str(run_directory), dtype="float32").model
    state = plain.state_dict()
    assert all(torch.equal(state[name], value) for name, value in whole.state_dict().items())


def test_a_quantized_run_is_compared_with_what_was_trained(tmp_path: Path, trained) -> None:
    run_directory = trained(quantize="4bit")
    report = merge(str(run_directory), tmp_path / "out", dtype="float32")
    assert report.quantize == "4bit"
    assert report.exact.logits < 1e-4 < report.stored.logits  # the base lost bits in training


def test_the_command_prints_the_difference(
    tmp_path: Path, trained, capsys: pytest.CaptureFixture[str]
) -> None:
    run_directory = trained()
    done = vqa_here(capsys, "merge", run_directory, tmp_path / "out", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["dtype"] == "float16" and report["exact"]["logits"] < 1e-4
    again = refused(vqa_here(capsys, "merge", run_directory, tmp_path / "out"))
    assert "is there already" in again
    assert "no adapter here" in refused(
        vqa_here(capsys, "merge", tmp_path / "base", tmp_path / "other")
    )
    assert not (tmp_path / "other").exists()
