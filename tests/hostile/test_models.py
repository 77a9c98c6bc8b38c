"""No model's directory makes the command hang, swell, run its code or fail without a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import vqa_here
from tests.hostile.harness import Case, assert_ended_well, check, planted
from tests.hostile.models import CASES

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cases
@pytest.mark.timeout(120)
def test_a_model_directory_is_refused_in_one_line(case: Case, tmp_path: Path, capsys: Any) -> None:
    with planted(case, tmp_path) as command:
        done = vqa_here(capsys, *command.arguments)
    assert_ended_well(case, tmp_path, done.returncode, done.stdout, done.stderr)
    assert not (tmp_path / "model" / "ran").exists()


@cases
@pytest.mark.fuzz
def test_a_model_directory_takes_little_time_and_memory(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
    assert not (tmp_path / "model" / "ran").exists()
