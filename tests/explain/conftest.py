"""Tiny models whose answers depend on their pictures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from tests import tiny
from vqa.answering import Request
from vqa.inputs.prompts import Message
from vqa.models.checkpoints import LoadedModel, load


@pytest.fixture(scope="session")
def load_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LoadedModel]:
    """Load a tiny model, its projections enlarged: as drawn, all logits are alike."""
    folder = tmp_path_factory.mktemp("models")

    def get(kind: str = "llava_1_5", dtype: str = "float32", **options: str) -> LoadedModel:
        if not (folder / kind).exists():
            getattr(tiny, kind)(folder / kind)
        loaded = load(str(folder / kind), device="cpu", dtype=dtype, **options)  # type: ignore[arg-type]
        with torch.no_grad():
            for name, weight in loaded.model.model.named_parameters():
                if weight.ndim == 2 and "embed" not in name and weight.is_floating_point():
                    weight.mul_(5)
        return loaded

    return get


@pytest.fixture
def request_of() -> Callable[[int], Request]:
    """A question about pictures of noise."""

    def get(pictures: int = 1) -> Request:
        generator = torch.Generator().manual_seed(5)
        images = tuple(
            Image.fromarray(
                torch.randint(0, 256, (40, 50, 3), dtype=torch.uint8, generator=generator).numpy()
            )
            for _ in range(pictures)
        )
        return Request((Message("user", "What is this?", images),))

    return get
