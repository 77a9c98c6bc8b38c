"""What the tests of the shared space share: tiny encoders, made once, and pictures of colours."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests import tiny as tiny_llava
from tests.alignment import tiny
from vqa.alignment import loading
from vqa.alignment.dual_encoder import DualEncoder

COLOURS = ("red", "blue", "green", "black", "white", "yellow")


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Directories of a vision and a text encoder."""
    folder = tmp_path_factory.mktemp("towers")
    vision = tiny_llava.timm_vision(folder / "vision", "test_efficientnet", 64, (1, 2))
    return str(vision), str(tiny.text_encoder(folder / "text"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP."""
    return tiny.clip(tmp_path_factory.mktemp("clip") / "clip")


@pytest.fixture(scope="session")
def encoder(clip: Path) -> DualEncoder:
    """The same, loaded."""
    return loading.load(str(clip), "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of pictures of one colour each, one of them in a folder below."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, colour in enumerate(COLOURS):
        below = folder / "more" if colour == "yellow" else folder
        Image.new("RGB", (30 + number, 40), colour).save(below / f"{colour}.png")
    return folder
