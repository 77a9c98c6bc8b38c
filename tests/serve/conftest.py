"""A tiny model, served once for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from PIL import Image

from tests import tiny
from tests.alignment import tiny as tiny_alignment
from tests.serve.server import serving
from vqa.alignment import loading as alignment
from vqa.alignment.dual_encoder import DualEncoder
from vqa.engine import LocalEngine
from vqa.models.checkpoints import LoadedModel, load


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A tiny model, its projections enlarged: as drawn, all logits are alike."""
    directory = tiny.llava_1_5(tmp_path_factory.mktemp("tiny"))
    loaded = load(str(directory), device="cpu", dtype="float32")
    with torch.no_grad():
        for name, weight in loaded.model.model.named_parameters():
            if weight.ndim == 2 and "embed" not in name:
                weight.mul_(5)
    return loaded


@pytest.fixture
def engine(loaded: LoadedModel) -> LocalEngine:
    """An engine of the tiny model, with nothing in its caches."""
    return LocalEngine(loaded)


@pytest.fixture(scope="module")
def url(loaded: LoadedModel) -> Iterator[str]:
    """The tiny model behind a server."""
    with serving({"tiny": LocalEngine(loaded)}) as url:
        yield url


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> DualEncoder:
    """A tiny CLIP, under a name of its own."""
    directory = tiny_alignment.clip(tmp_path_factory.mktemp("clip") / "clip")
    return replace(alignment.load(str(directory), "cpu"), name="clip")


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Pictures of noise."""
    generator = torch.Generator().manual_seed(5)
    return [
        Image.fromarray(
            torch.randint(0, 256, (40, 50, 3), dtype=torch.uint8, generator=generator).numpy()
        )
        for _ in range(32)
    ]
