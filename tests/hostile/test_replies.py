"""No reply of an endpoint makes the command hang, swell, show a key or fail without a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import vqa_here
from tests.hostile.harness import Case, assert_ended_well, check, planted
from tests.hostile.replies import CASES, KEY


# a few; what is refused, and why, `tests/remote/test_hostile_endpoint.py` tests without the command
@pytest.mark.parametrize("case", CASES[::7], ids=lambda case: case.name)
@pytest.mark.timeout(120)
def test_a_reply_ends_in_one_line(
    case: Case, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with planted(case, tmp_path) as command:
        for name, value in command.environment.items():
            monkeypatch.setenv(name, value)
        done = vqa_here(capsys, *command.arguments)
    assert_ended_well(case, tmp_path, done.returncode, done.stdout, done.stderr)
    written = tmp_path / "out.jsonl"
    logged = written.read_text(encoding="utf-8") if written.exists() else ""
    for start in range(len(KEY) - 8):
        assert KEY[start : start + 8] not in done.stderr + logged


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.fuzz
def test_a_reply_takes_little_time_and_memory(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
