"""No picture makes a command hang, swell or fail without a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import vqa_here
from tests.hostile.harness import Case, assert_ended_well, check, planted
from tests.hostile.pictures import CASES

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cases
@pytest.mark.fuzz
@pytest.mark.timeout(120)
def test_it_takes_little_time_and_memory(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


@cases
@pytest.mark.timeout(120)
def test_it_is_refused_in_one_line(case: Case, tmp_path: Path, capsys: Any) -> None:
    with planted(case, tmp_path) as command:
        done = vqa_here(capsys, *command.arguments)
    assert_ended_well(case, tmp_path, done.returncode, done.stdout, done.stderr)
