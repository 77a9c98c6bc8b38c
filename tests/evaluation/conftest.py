"""Rows about pictures of five colours, two about each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.colors import photo
from vqa.data.example import Example


@pytest.fixture
def data(tmp_path: Path) -> list[Example]:
    colors = ("red", "lime", "blue", "white", "black")
    paths = [photo(tmp_path / f"{c}.png", c, (4, 4 + i)) for i, c in enumerate(colors)]
    return [Example(f"q{i}", (paths[i // 2],), f"question {i}?") for i in range(10)]
