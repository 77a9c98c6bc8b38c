"""The log of a run that was killed: every row of an unbroken one, the last with the mean of all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.scripted import Killed, Start

_CLOCK = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos"}


def rows(output: Path) -> list[dict[str, Any]]:
    lines = (output / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in _CLOCK} for line in lines]


@pytest.mark.parametrize("every", [1, 5])
def test_killed_it_logs_what_an_unbroken_run_does(tmp_path: Path, start: Start, every: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    start({}, settings={"output": whole, "log_every": every})
    for kill in (3, 9):
        with pytest.raises(Killed):
            start({}, kill=kill, settings={"output": parts, "log_every": every})
    start({}, settings={"output": parts, "log_every": every})
    assert rows(whole)[-1]["train_loss"] > 0
    assert [row["step"] for row in rows(parts)] == [row["step"] for row in rows(whole)]
    for one, two in zip(rows(whole), rows(parts), strict=True):
        assert one == pytest.approx(two)
    start({}, settings={"output": parts, "log_every": every})  # nothing is left to train
    assert rows(parts)[-1]["train_loss"] == pytest.approx(rows(whole)[-1]["train_loss"])
