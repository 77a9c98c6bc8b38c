"""No data file makes a command hang, swell or fail without a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.harness import Case, check
from tests.hostile.tables import CASES

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cases
@pytest.mark.fuzz
@pytest.mark.timeout(120)
def test_it_takes_little_time_and_memory(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
