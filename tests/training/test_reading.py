"""The data file is read once for a run, and rows come as they were from the cache of tokens."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import llava_1_5
from tests.training.recipes import RECIPES, Start
from training.sft.data import llava_encoder, plan_rows
from training.sft.settings import FinetuneSettings
from vqa.data import read
from vqa.models.checkpoints import load

_OPENED: Counter[str] = Counter()
_WATCHED: set[str] = set()


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and str(arguments[0]) in _WATCHED:
        _OPENED[str(arguments[0])] += 1


sys.addaudithook(_count)  # no hook can be taken away: it counts what is watched


@pytest.fixture
def openings() -> Iterator[Callable[[Path], int]]:
    """How often a file was opened since the last call."""

    def openings(path: Path) -> int:
        _WATCHED.add(str(path))
        return _OPENED.pop(str(path), 0)

    yield openings
    _WATCHED.clear()


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names the whole readings of data files: `rows`, and `sha256` of their bytes."""
    log: list[str] = []
    for module, name in (
        ("training.sft.data.read", "rows"),
        ("training.align.captions.read", "rows"),
        ("training.fusion.data.read", "rows"),
        ("training.common.planning.sha256", "sha256"),
        ("training.sft.data.sha256", "sha256"),
    ):
        owner, _, attribute = module.rpartition(".")
        original = getattr(import_module(owner), attribute)

        def reading(
            *arguments: Any, original: Any = original, name: str = name, **options: Any
        ) -> Any:
            log.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(module, reading)
    return log


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_rows_and_the_bytes_are_read_once(
    start_recipe: Start, recipe: str, data: Path, readings: list[str], openings: Any
) -> None:
    openings(data)
    start_recipe(recipe)
    assert sorted(readings) == ["rows", "sha256"]
    probes = openings(data) - len(readings)  # the format is recognised by a file's beginning
    readings.clear()
    start_recipe(recipe, "again")
    packed = recipe in ("finetune", "preference", "pretrain")  # whose rows come from the cache
    assert sorted(readings) == (["sha256"] if packed else ["rows", "sha256"])
    assert openings(data) <= len(readings) + probes


def test_a_projector_that_starts_from_words_reads_no_more(
    start_recipe: Start, data: Path, readings: list[str]
) -> None:
    start_recipe("pretrain", projector_start="words")
    assert sorted(readings) == ["rows", "sha256"]


def test_a_validation_file_of_its_own_is_read_once_too(
    start_recipe: Start, data: Path, tmp_path: Path, readings: list[str]
) -> None:
    rows = data.read_text().splitlines(keepends=True)
    data.write_text("".join(rows[:8]))
    (tmp_path / "own.jsonl").write_text("".join(rows[8:]))
    start_recipe("finetune", validation={"data": str(tmp_path / "own.jsonl")})
    assert sorted(readings) == ["rows", "rows", "sha256", "sha256"]


def test_examples_come_from_the_cache_as_they_were_read(tmp_path: Path, data: Path) -> None:
    row = {
        "id": "x", "image": ["0.png", "1.png"], "question": "<image>, more?", "answers": ["a", "b"],
        "earlier": [{"question": "And?", "answer": "Yes.", "pictures": 1}], "system": "Be brief.",
        "choices": ["a", "b"], "weight": 1.5,
    }  # fmt: skip
    with data.open("a") as file:
        file.write(json.dumps(row) + "\n")
    loaded = load(str(llava_1_5(tmp_path / "model")), dtype="float32", device="cpu")
    settings = FinetuneSettings(recipe="finetune", model="-", data=data, output=tmp_path / "run")
    rows = np.array([0, 3, 16], dtype=np.int32)
    expected = [example for n, example in enumerate(read(data)) if n in rows]
    for directory in ("fresh", "cached"):
        tokens = plan_rows(settings, llava_encoder(loaded.model.config, loaded.processor)).tokens
        examples = list(tokens.examples(rows))
        assert [vars(e) | {"images": ()} for e in examples] == [
            vars(e) | {"images": ()} for e in expected
        ], directory
        assert [list(map(str, e.images)) for e in examples] == [
            list(map(str, e.images)) for e in expected
        ]
