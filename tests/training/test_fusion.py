"""`vqa train fusion` on tiny parts: it learns, stops and goes on, and says what it leaves out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests import tiny
from tests.cli.run import environment
from training.fusion.data import _epochs, shuffled
from training.fusion.settings import FusionSettings
from training.run import run
from vqa.answering import Request
from vqa.errors import InputError
from vqa.fusion.answerer import FusionAnswerer
from vqa.fusion.storage import load
from vqa.inputs.prompts import Message
from vqa.models.runs import UnfinishedRun

COLORS = {"red": (220, 20, 30), "blue": (10, 30, 230), "green": (20, 190, 40)}
NETWORK = {"hidden_size": 32, "heads": 2, "dropout": 0.1}


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, str]:
    vision = tiny.timm_vision(tmp_path / "v", "test_efficientnet", 64, (1, 2))
    return {"vision": str(vision), "language": str(tiny.language(tmp_path / "l"))}


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """One picture for each row: what colour is it, and is it red?"""
    rows = []
    for index in range(48):
        name = list(COLORS)[index % 3]
        shade = tuple(min(255, value + index % 7) for value in COLORS[name])
        Image.new("RGB", (20 + index, 20), shade).save(tmp_path / f"{index}.png")
        red = "yes" if name == "red" else "no"
        for question, answer in (("What colour is it?", name), ("Is it red?", red)):
            row = {"id": len(rows), "image": f"{index}.png", "question": question}
            rows.append(row | {"answer": answer})
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def values(parts, colors) -> dict[str, object]:
    return parts | {
        "recipe": "fusion", "data": str(colors), "network": NETWORK, "row_questions": 8,
        "rows_per_step": 1, "learning_rate": {"fusion": 3e-3}, "device": "cpu", "log_every": 1,
        "warmup_ratio": 0.1, "validation": {"share": 0.25, "best_by": "metric"},
    }  # fmt: skip


def start(tmp_path: Path, name: str, values: dict[str, object], **changes: object) -> Path:
    """Write the config and train; returns the run's directory."""
    out = tmp_path / name
    run(written(tmp_path, values | {"output": str(out)} | changes))
    return out


def written(tmp_path: Path, values: dict[str, object]) -> str:
    path = tmp_path / f"{Path(str(values['output'])).name}.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    return str(path)


def ask(answerer: FusionAnswerer, color: str, question: str):
    picture = Image.new("RGB", (40, 40), COLORS[color])
    (answer,) = answerer.answer([Request((Message("user", question, (picture,)),))])
    return answer


def test_it_learns_to_see_and_says_how_sure_it_is(tmp_path, values):
    out = start(tmp_path, "run", values, epochs=4)
    answerer = FusionAnswerer(load(str(out), "cpu"))
    for color in COLORS:
        answer = ask(answerer, color, "what COLOUR is it?")
        assert answer.text == color and 0.5 < answer.probability <= 1
        assert ask(answerer, color, "Is it red?").text == ("yes" if color == "red" else "no")
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    scores = [entry["eval_metric"] for entry in log if "eval_metric" in entry]
    assert max(scores) > 0.9 > scores[0]
    described = json.loads((out / "run.json").read_text())
    assert described["finished"] and described["rows"] + described["validation_rows"] == 96
    assert (out / "curves.png").is_file()
    assert "vqa ask --model" in (out / "README.md").read_text()
    assert not list(out.glob("*.bin")) and not list(out.glob("*.pt"))


def test_frozen_parts_are_not_in_the_directory_and_do_not_move(tmp_path, values, parts):
    out = start(tmp_path, "run", values, max_steps=2)
    weights = load_file(out / "model.safetensors")
    assert not any("vision_tower" in name or name.endswith("words") for name in weights)
    before = load_file(Path(parts["vision"]) / "model.safetensors")
    after = load(str(out), "cpu").model.model.vision_tower.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_encoder_learns_where_it_is_told_to(tmp_path, values, parts):
    changed = {"train": {"vision": True}, "learning_rate": {"fusion": 1e-3, "vision": 1e-3}}
    out = start(tmp_path, "run", values, max_steps=2, **changed)
    before = load_file(Path(parts["vision"]) / "model.safetensors")
    after = load(str(out), "cpu").model.model.vision_tower.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and not any("running_" in name or "num_batches" in name for name in moved)


def test_rare_answers_are_no_classes_and_count_as_wrong(tmp_path, values, colors):
    rows = [json.loads(line) for line in colors.read_text().splitlines()]
    rare = {"red": "crimson", "blue": "Blue.", "green": "green"}
    for number, row in enumerate(rows):
        if row["answer"] in rare:
            row["answer"] = f"rare {number}" if row["answer"] == "red" else rare[row["answer"]]
    colors.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = start(tmp_path, "run", values, epochs=4)
    assert set(json.loads((out / "answers.json").read_text())) == {"yes", "no", "Blue.", "green"}
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    best = max(entry["eval_metric"] for entry in log if "eval_metric" in entry)
    lines = (out / "validation").glob("*.jsonl")
    checked = [json.loads(line) for line in sorted(lines)[-1].read_text().splitlines()]
    lost = sum("rare" in row["answers"][0] for row in checked) / len(checked)
    assert lost > 0 and best <= 1 - lost + 1e-9
    answer = ask(FusionAnswerer(load(str(out), "cpu")), "red", "What colour is it?")
    assert answer.probability < 0.9  # of an answer that was never right


def test_rows_that_are_not_about_one_picture_are_left_out_aloud(tmp_path, values, colors, capsys):
    two = {"id": "two", "images": ["0.png", "1.png"], "question": "Which?", "answer": "no"}
    none = {"id": "none", "images": [], "question": "Hello?", "answer": "no"}
    with colors.open("a") as file:
        file.write(json.dumps(two) + "\n" + json.dumps(none) + "\n")
    start(tmp_path, "run", values, max_steps=1)
    assert "2 rows are left out: they are not about exactly one picture" in capsys.readouterr().err


def test_too_few_answers_and_long_questions_are_told(tmp_path, values, colors):
    with pytest.raises(InputError, match=r"answers.least=200: 0 of 5 .* lower it"):
        start(tmp_path, "run", values, answers={"least": 200})
    with pytest.raises(InputError, match=r"train.jsonl:1: The question takes \d+ tokens"):
        start(tmp_path, "run", values, network=NETWORK | {"question_tokens": 4})
    with pytest.raises(InputError, match="heads=3"):
        start(tmp_path, "run", values, network=NETWORK | {"heads": 3})


@pytest.mark.slow
def test_killed_and_started_again_it_ends_like_an_unbroken_run(tmp_path, values):
    values |= {"epochs": 1, "save_every": 1, "validation": {"share": 0.25, "every": 4}}
    whole = start(tmp_path, "whole", values)
    broken = tmp_path / "broken"
    path = written(tmp_path, values | {"output": str(broken)})
    process = subprocess.Popen(
        [sys.executable, "-m", "vqa", "train", path], env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and last_step(broken) < 3:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and 3 <= last_step(broken) < last_step(whole)
    with pytest.warns(UnfinishedRun, match=f"of step {last_step(broken)} of {last_step(whole)}"):
        loaded = load(str(broken))
    checkpoint = load_file(broken / f"checkpoint-{last_step(broken)}" / "model.safetensors")
    state = loaded.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in checkpoint.items())
    picture = Image.new("RGB", (30, 20), COLORS["red"])
    request = Request((Message("user", "Is it red?", (picture,)),))
    assert FusionAnswerer(loaded).answer([request])[0].text in ("yes", "no", *COLORS)
    run(path)
    one, two = (load_file(out / "model.safetensors") for out in (whole, broken))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    configs = [json.loads((out / "config.json").read_text()) for out in (whole, broken)]
    assert configs[0]["answer_temperature"] == configs[1]["answer_temperature"] != 1


def last_step(output: Path) -> int:
    states = output.glob("checkpoint-*/trainer_state.json")
    return max((int(path.parent.name.rsplit("-", 1)[1]) for path in states), default=0)


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path, values):
    values |= {"network": NETWORK | {"dropout": 0}, "epochs": 1}
    one = start(tmp_path, "one", values)
    two = tmp_path / "two"
    path = written(tmp_path, values | {"output": str(two), "row_questions": 4, "rows_per_step": 2})
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launcher, "-m", "vqa", "train", path]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((two / "run.json").read_text())["processes"] == 2
    logs = []
    for out in (one, two):
        rows = map(json.loads, (out / "log.jsonl").read_text().splitlines())
        logs.append([row["loss"] for row in rows if "loss" in row])
    assert len(logs[0]) == len(logs[1]) >= 5
    # the last step is short, and accelerate fills it up for the second process
    assert all(abs(a - b) < 1e-4 for a, b in zip(logs[0][:-1], logs[1][:-1], strict=True))


def test_an_epoch_has_every_row_once_in_small_groups_about_a_picture():
    pictures = np.repeat(np.arange(50, dtype=np.int32), 9)
    rows = np.flatnonzero(np.arange(450) % 7).astype(np.int32)
    first, second = (shuffled(rows, pictures, np.random.default_rng(n)) for n in (0, 1))
    assert sorted(first) == rows.tolist() and not np.array_equal(first, second)
    changes = np.count_nonzero(np.diff(pictures[first]))
    assert len(rows) / 4 < changes < len(rows) / 2  # groups of four and what is left of nine
    assert len(set(pictures[first[:64]])) > 14


@pytest.mark.parametrize(("epochs", "max_steps", "count"), [
    (2, None, 20), (0.5, None, 5), (1, 9, 36), (3, 2, 8),
])  # fmt: skip
def test_a_run_of_so_many_steps_orders_each_epoch_anew(values, epochs, max_steps, count):
    rows = np.arange(10, dtype=np.int32)
    settings = FusionSettings.model_validate(
        values | {"output": "run", "epochs": epochs, "max_steps": max_steps, "rows_per_step": 2}
    )
    order = _epochs(rows, rows, settings, row_questions=2)
    assert len(order) == count
    passes = [order[start : start + 10] for start in range(0, len(order) - 9, 10)]
    assert all(sorted(one) == rows.tolist() for one in passes)
    assert len({tuple(one) for one in passes}) == len(passes)


def test_a_dry_run_tells_memory_and_time_and_writes_nothing(tmp_path, values, capsys):
    from training.run import run as start_run

    out = tmp_path / "run"
    start_run(written(tmp_path, values | {"output": str(out)}), dry_run=True)
    output = "".join(capsys.readouterr())
    assert "memory at its peak" in output and "5 answers" in output and "on this machine" in output
    assert not out.exists()
