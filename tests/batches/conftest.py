from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.batches.painter import Painter
from vqa.batches import Batches
from vqa.chat import Worker


@pytest.fixture
def painter() -> Painter:
    return Painter()


@pytest.fixture
def worker(painter: Painter) -> Iterator[Worker]:
    with Worker(painter) as worker:
        yield worker


@pytest.fixture
def batches(worker: Worker, tmp_path: Path) -> Batches:
    return Batches(tmp_path / "batches", lambda: worker)
