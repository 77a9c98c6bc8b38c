"""Progress of long commands where nobody sits at a terminal: in a log, in a container."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import torch

from training.common.features import FeatureCache, fill
from vqa.utils.progress import progress_bar, track


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock that goes on by ten seconds each time it is read."""
    ticks = count(100, 10)
    monkeypatch.setattr("vqa.utils.progress.time.monotonic", lambda: next(ticks))
    yield


@pytest.mark.usefixtures("slow_clock")
def test_without_a_terminal_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("tiny") as tell:
        for done in range(0, 200, 10):
            tell(done, 40_000)
    assert capsys.readouterr().err.splitlines()[:2] == [
        "tiny: 20 of 40000 rows, 0.7 rows/s, 16:39:30 left",
        "tiny: 50 of 40000 rows, 1.0 rows/s, 11:05:50 left",
    ]


@pytest.mark.usefixtures("slow_clock")
def test_items_that_are_taken_are_counted_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(5), "pairs", total=5)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err.splitlines() == ["pairs: 3 of 5 rows, 0.1 rows/s, 0:00:20 left"]


@pytest.mark.usefixtures("slow_clock")
def test_encoding_pictures_prints_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cached = FeatureCache(tmp_path)
    fill(cached, [(f"{n}", n) for n in range(6)], 1, lambda one: [torch.ones(1)], "pictures")
    assert all(f"{n}" in cached for n in range(6))
    assert capsys.readouterr().err.startswith("features of pictures: 3 of 6 pictures, ")
