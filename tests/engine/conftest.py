"""Tiny models of several kinds, with weights large enough that answers vary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests import tiny
from vqa.models.checkpoints import LoadedModel, load
from vqa.models.llava import compose

KINDS = ("llava_1_5", "llava_interleave", "qwen3", "mistral", "gemma2", "phi3")


def _write(directory: Path, kind: str) -> Path:
    if kind in ("llava_1_5", "llava_interleave"):
        written: Path = getattr(tiny, kind)(directory)
        return written
    changes = {
        "gemma2": {"head_dim": 16, "sliding_window": 24},  # shorter than the prompts
        "qwen3": {"head_dim": 32},
        "mistral": {"sliding_window": None},
        "phi3": {"pad_token_id": 0},
    }[kind]
    vision = tiny.vision(directory / "vision", "siglip")
    language = tiny.language(directory / "language", kind, **changes)
    composed = compose(vision, language)
    composed.model.save_pretrained(directory / "model")
    composed.processor.save_pretrained(directory / "model")
    return directory / "model"


@pytest.fixture(scope="session")
def directory_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of a tiny model of a kind, written once."""
    written: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in written:
            written[kind] = _write(tmp_path_factory.mktemp(kind), kind)
        return written[kind]

    return get


@pytest.fixture
def load_tiny(directory_of: Callable[[str], Path]) -> Callable[..., LoadedModel]:
    """Load a tiny model on the CPU, its projections enlarged: as drawn, all logits are alike."""

    def get(kind: str = "llava_1_5", dtype: str = "float32") -> LoadedModel:
        loaded = load(str(directory_of(kind)), device="cpu", dtype=dtype)
        with torch.no_grad():
            for name, weight in loaded.model.model.named_parameters():
                if weight.ndim == 2 and "embed" not in name:
                    weight.mul_(5)
        return loaded

    return get


@pytest.fixture
def pictures() -> list[Image.Image]:
    """Three pictures of noise."""
    generator = torch.Generator().manual_seed(5)
    return [
        Image.fromarray(
            torch.randint(0, 256, (40, 50, 3), dtype=torch.uint8, generator=generator).numpy()
        )
        for _ in range(3)
    ]
