"""The fusion recipe on the embedded parts and real photos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.common import features
from training.run import run
from vqa.answering import Request
from vqa.fusion.answer_vocabulary import AnswerVocabulary
from vqa.fusion.answerer import FusionAnswerer
from vqa.fusion.config import FusionConfig
from vqa.fusion.storage import build, load, open_parts
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.models import checkpoints
from vqa.models.bundled.embedded import base_directory
from vqa.utils.cache import cache_dir

pytestmark = pytest.mark.weights


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base weights of the user's cache; what is computed from pictures does not go there."""
    monkeypatch.delenv("VQA_CACHE", raising=False)
    base_directory()
    own = tmp_path / "cache"
    own.mkdir()
    for name in ("parts", "models"):
        (own / name).symlink_to(cache_dir() / name)
    monkeypatch.setenv("VQA_CACHE", str(own))


def test_cached_features_serve_the_embedded_model_too():
    llava = checkpoints.load("embedded/base", dtype="float32", device="cpu")
    parts = open_parts("embedded", "embedded")
    model = build(parts, AnswerVocabulary(["yes", "no"]), FusionConfig())
    of_llava = features.cache_directory(llava.model, llava.processor.image_processor)
    assert features.cache_directory(model, parts.image_processor) == of_llava


def test_it_learns_what_is_on_photos(tmp_path: Path, examples: Path) -> None:
    asked = ("What is it?", "Is there a cat?", "which animal is this")
    photos = {"cat.jpg": ("a cat", "yes", "cat"), "coffee.jpg": ("coffee", "no", "none")}
    rows = [
        {"id": f"{name}-{question}-{n}", "image": name, "question": question, "answer": answer}
        for name, answers in photos.items()
        for question, answer in zip(asked, answers, strict=True)
        for n in range(2)
    ]
    data = tmp_path / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"recipe": "fusion", "data": str(data), "images": str(examples), "epochs": 25,
              "output": str(tmp_path / "run"), "validation": {"share": 0}, "row_questions": 12,
              "rows_per_step": 1, "learning_rate": {"fusion": 2e-3}, "device": "cpu",
              "network": {"hidden_size": 64, "dropout": 0}}  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    run(str(path))
    answerer = FusionAnswerer(load(str(tmp_path / "run"), "cpu"))
    for name, answers in photos.items():
        picture = load_image(examples / name)
        requests = [Request((Message("user", question, (picture,)),)) for question in asked]
        assert [answer.text for answer in answerer.answer(requests)] == list(answers)
        assert answerer.attention_map(requests[0]).shape == (8, 8)
