"""The card of a finished run says for what it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.recipes import RECIPES, Start
from training.common.recipe import ModelCard
from training.common.record import CARD, end

TASKS = {
    "finetune": "image-text-to-text",
    "preference": "image-text-to-text",
    "pretrain": "image-text-to-text",
    "fusion": "visual-question-answering",
    "align": "zero-shot-image-classification",
}


def tags_of(output: Path) -> list[str]:
    lines = (output / CARD).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("pipeline_tag:")]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_task_is_that_of_the_recipe(start_recipe: Start, recipe: str) -> None:
    assert tags_of(start_recipe(recipe)) == [f"pipeline_tag: {TASKS[recipe]}"]


@pytest.mark.parametrize("commands", [None, ("vqa something MODEL",)])
def test_commands_of_its_own_say_nothing_of_the_task(
    tmp_path: Path, commands: tuple[str, ...] | None
) -> None:
    described: dict[str, Any] = {
        "settings": {
            "data": "a.jsonl",
            "max_steps": 1,
            "epochs": 1,
            "validation": {"best_by": "loss"},
        },
        "rows": 1,
        "pictures": 1,
        "sets": [],
        "skipped": {"rows": 0},
    }
    end(tmp_path, described, [], ModelCard("base", "a projector", commands))
    assert tags_of(tmp_path) == ["pipeline_tag: image-text-to-text"]


def test_a_readme_of_the_user_stays(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text("mine", encoding="utf-8")
    end(tmp_path, {}, [], ModelCard("base", "a projector"))
    assert (tmp_path / CARD).read_text(encoding="utf-8") == "mine"
