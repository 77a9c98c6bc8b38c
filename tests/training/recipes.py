"""A small run of each recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.alignment import tiny as tiny_encoders
from training.run import run

RECIPES = ("finetune", "preference", "pretrain", "fusion", "align")
Start = Callable[..., Path]  # of a recipe, a name and settings


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("parts")
    return {
        "llava": str(tiny.llava_1_5(folder / "llava")),
        "vision": str(tiny.timm_vision(folder / "v", "test_efficientnet", 64, (1, 2))),
        "language": str(tiny.language(folder / "l")),
        "text": str(tiny_encoders.text_encoder(folder / "text")),
    }


@pytest.fixture
def start_recipe(tmp_path: Path, data: Path, parts: dict[str, str]) -> Start:
    """Writes a small config of a recipe and starts it; returns the run's directory."""

    def start(recipe: str, name: str = "run", **changes: Any) -> Path:
        out = tmp_path / name
        values: dict[str, Any] = {
            "recipe": recipe, "data": str(data), "output": str(out), "device": "cpu",
            "log_every": 1, "save_every": 1, "max_steps": 2, "validation": {"share": 0.3},
        }  # fmt: skip
        packed = {"row_tokens": 128, "rows_per_step": 2, "dtype": "float32"}
        network = {"hidden_size": 16, "heads": 2}
        vision = {"vision": parts["vision"]}
        values |= {
            "finetune": packed | {"model": parts["llava"]},
            "preference": packed | {"model": parts["llava"]},
            "pretrain": packed | vision | {"language": parts["language"]},
            "fusion": vision | {"language": parts["language"], "network": network,
                                "row_questions": 4, "rows_per_step": 1},
            "align": vision | {"text": parts["text"], "batch": 4, "heads": {"dim": 8}},
        }[recipe]  # fmt: skip
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps(values | changes))
        run(str(path))
        return out

    return start
