"""A tiny fusion model with random weights, and its directory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import tiny
from vqa.fusion import storage
from vqa.fusion.answer_vocabulary import AnswerVocabulary
from vqa.fusion.config import FusionConfig

ANSWERS = ("yes", "no", "red", "two cats", "blue")


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fusion")
    vision = tiny.timm_vision(folder / "v", "test_efficientnet", 96, (1, 2))
    language = tiny.language(folder / "l")
    parts = storage.open_parts(str(vision), str(language))
    config = FusionConfig(vision=str(vision), language=str(language), hidden_size=32, heads=2,
                          question_tokens=80, answer_temperature=2.0)  # fmt: skip
    torch.manual_seed(0)
    answers = AnswerVocabulary(ANSWERS)
    model = storage.build(parts, answers, config)
    (folder / "run").mkdir()
    storage.save(model, answers, parts.fingerprints, folder / "run")
    return folder / "run"
