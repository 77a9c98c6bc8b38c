"""What the tests of training share: a cache of their own, data of two colours, a config file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.training.recipes import parts, start_recipe  # noqa: F401  # fixtures
from tests.training.scripted import start  # noqa: F401  # a fixture

Config = Callable[..., str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures of two colours with two questions each."""
    rows = []
    for index in range(8):
        colour = "red" if index % 2 else "blue"
        Image.new("RGB", (20 + index, 20), colour).save(tmp_path / f"{index}.png")
        for question, answer in (("What colour is it?", colour), ("Is it red?", str(index % 2))):
            row = {"id": len(rows), "image": f"{index}.png", "question": question, "answer": answer}
            rows.append(row | {"source": "colours", "rejected": "nothing"})
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Writes a config with short rows and many checkpoints; returns its path."""

    def write(**values: object) -> str:
        output = values["output"]
        assert isinstance(output, Path)
        path = tmp_path / f"{output.name}.yaml"
        common = {"row_tokens": 128, "rows_per_step": 2, "warmup_ratio": 0, "log_every": 1,
                  "save_every": 2, "device": "cpu", "dtype": "float32"}  # fmt: skip
        texts = {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}
        path.write_text(json.dumps(common | texts))  # JSON is YAML
        return str(path)

    return write
