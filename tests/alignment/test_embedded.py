"""What ships, on real photos: the base parts are fetched once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vqa.alignment import loading
from vqa.alignment.classify import Classifier, similarities
from vqa.alignment.dual_encoder import DualEncoder
from vqa.alignment.loading import embedded_directory
from vqa.errors import InputError
from vqa.inputs.images import load_image

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def embedded() -> DualEncoder:
    return loading.load("embedded", "cpu")


def test_what_ships_is_small() -> None:
    sizes = [path.stat().st_size for path in embedded_directory().iterdir()]
    assert sum(sizes) < 5_000_000


def test_it_knows_a_cat_and_a_cup(embedded: DualEncoder, examples: Path) -> None:
    classifier = Classifier(embedded, ["cat", "dog", "cup of coffee", "bicycle", "beach"])
    for name, label in (("cat.jpg", "cat"), ("coffee.jpg", "cup of coffee")):
        best = classifier.classify(load_image(examples / name))[0]
        assert best.label == label and best.probability > 0.5


@pytest.mark.parametrize("word", ["猫", "火箭", "红色的狗"])
def test_words_that_it_does_not_know_are_refused(embedded: DualEncoder, word: str) -> None:
    with pytest.raises(InputError, match=f"does not know '{word}'"):
        embedded.encode_texts(["a cat", f"a photo of {word}."])
    embedded.encode_texts(["café ☕, Кот"])  # signs are passed over, and letters spelled


def test_a_caption_fits_its_own_picture(embedded: DualEncoder, examples: Path) -> None:
    texts = ["a cat looks into the camera", "a cup of coffee on a table"]
    scores = torch.stack(
        [similarities(embedded, load_image(examples / n), texts) for n in ("cat.jpg", "coffee.jpg")]
    )
    assert scores.argmax(1).tolist() == [0, 1]
    assert scores.argmax(0).tolist() == [0, 1]


def test_the_text_part_knows_what_means_the_same(embedded: DualEncoder) -> None:
    from vqa.alignment.dual_encoder import tokenize
    from vqa.alignment.joint import sentence_vectors

    texts = ["a man rides a bike", "a person is cycling", "stock prices fell on Monday"]
    with torch.inference_mode():
        tokens = tokenize(embedded.tokenizer, texts)
        vectors = sentence_vectors(embedded.model.text_tower, **tokens)
    same, other = vectors[0] @ vectors[1:].T
    assert float(same) > 0.6 > 0.3 > float(other)
    assert embedded.max_length == 256
