"""predict, train and index, killed with SIGKILL and started again: the output of an unbroken run.

Two kills of each with `pytest -m slow`, ten with `pytest -m fuzz tests/test_killed.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import tiny
from tests.alignment import tiny as tiny_clip
from tests.killing import Command, killed_like_unbroken

_TIMES = [pytest.param(2, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.fuzz)]
# of the clock, or of how often a run was started
_CLOCK = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos"}
pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for index in range(40):
        Image.new("RGB", (30, 30), (index * 6, 0, 255 - index * 6)).save(folder / f"{index}.png")
        colour = "red" if index > 20 else "blue"
        for number, question in enumerate(("What colour is it?", f"Is it {index}?")):
            row = {"id": 2 * index + number, "image": f"{index}.png", "question": question}
            rows.append(row | {"answer": colour})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if ".tmp" in path.name]


@pytest.mark.parametrize("times", _TIMES)
def test_predict(tmp_path: Path, data: Path, times: int) -> None:
    model = tiny.llava_1_5(tmp_path / "model")

    def of(out: Path) -> Command:
        arguments = ["predict", "--data", data, "--out", out, "--model", model]
        more = ["--batch-size", "4", "--max-new-tokens", "8"]
        return Command([*arguments, *more], out, tmp_path / "cache")

    whole, parts, kills = killed_like_unbroken(of, tmp_path, times, seed=19)
    tell("predict", kills)
    expected, resumed = (sorted(path.read_bytes().splitlines()) for path in (whole, parts))
    assert len(expected) == 80 and resumed == expected
    described = [json.loads(Path(f"{path}.run.json").read_text()) for path in (whole, parts)]
    assert described[0] == described[1]


@pytest.mark.parametrize("times", _TIMES)
def test_train(tmp_path: Path, data: Path, times: int) -> None:
    model = tiny.llava_1_5(tmp_path / "model")
    common = {
        "model": model, "data": data, "row_tokens": 128, "rows_per_step": 2, "log_every": 1,
        "save_every": 2, "max_steps": 5, "device": "cpu", "dtype": "float32",
        "validation.share": 0.1, "validation.every": 3, "validation.max_new_tokens": 4,
    }  # fmt: skip

    def of(out: Path) -> Command:
        values = [f"{key}={value}" for key, value in common.items()]
        # each run has features of its own to encode
        cache = tmp_path / f"cache-{out.name}"
        return Command(["train", "finetune", *values, f"output={out}"], out, cache)

    whole, parts, kills = killed_like_unbroken(of, tmp_path, times, seed=20)
    tell("train", kills)
    name = "adapter_model.safetensors"
    assert (whole / name).read_bytes() == (parts / name).read_bytes()
    logs = [
        [{key: value for key, value in row.items() if key not in _CLOCK} for row in rows]
        for rows in (rows_of(path / "log.jsonl") for path in (whole, parts))
    ]
    assert len(logs[0]) >= 5 and logs[1] == logs[0]
    answers = [
        {path.name: path.read_bytes() for path in (out / "validation").iterdir()}
        for out in (whole, parts)
    ]
    assert answers[0] == answers[1]
    names = [sorted(str(p.relative_to(out)) for p in out.rglob("*")) for out in (whole, parts)]
    assert names[0] == names[1]
    assert leftovers(whole) + leftovers(parts) == []
    assert json.loads((parts / "run.json").read_text())["finished"]


@pytest.mark.parametrize("times", _TIMES)
def test_index(tmp_path: Path, data: Path, times: int) -> None:
    from vqa.alignment.index import PictureIndex

    model = tiny_clip.clip(tmp_path / "model")

    def of(out: Path) -> Command:
        arguments = ["search", "index", data.parent, "--out", out, "--model", model]
        return Command(arguments, out, tmp_path / "cache")

    whole, parts, kills = killed_like_unbroken(of, tmp_path, times, seed=21)
    tell("index", kills)
    one, two = (PictureIndex.open(path) for path in (whole, parts))
    assert len(one) == 40 and one.stamps() == two.stamps()
    for vector in np.eye(one.dim, dtype=np.float32)[:8]:
        hits = [[(hit.image, hit.similarity) for hit in i.nearest(vector, 40)] for i in (one, two)]
        assert sorted(hits[0]) == sorted(hits[1])
    assert leftovers(parts) == [] and len(list(parts.glob("*.usearch"))) <= 2


def tell(what: str, kills: list[tuple[float, bool]]) -> None:
    """For `pytest -s`; the clock of a busy machine may be late for some."""
    met = sum(alive for _, alive in kills)
    print(f"{what}: {len(kills)} kills, {met} of a running command, after", end=" ")
    print(", ".join(f"{moment:.2f}" for moment, _ in kills), "seconds")
    assert met
