"""A projector that starts from words: features of a picture read as what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from tests.tiny import llava_1_5
from training.features import FeatureCache, cache_directory, cache_features, fingerprints
from training.start import start_from_words
from training.views import WHOLE, View
from vqa.checkpoints import load
from vqa.data.example import Example

WORDS = ("red", "blue", "dog", "tree", "house", "water")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_features_read_as_the_words_of_their_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    loaded = load(str(llava_1_5(tmp_path / "model")), dtype="float32", device=device)
    model, processor = loaded.model, loaded.processor
    examples = []
    for number in range(len(WORDS) * 4):
        kind = number % len(WORDS)
        colour = tuple((kind * 67 + shift + number) % 256 for shift in (0, 90, 180))
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (28, 28), colour).save(path)
        examples.append(Example(number, (path,), "What is it?", (f"It is {WORDS[kind]}.",)))
    prints = fingerprints([str(example.images[0]) for example in examples])
    cache_features(model, processor, {key: (Path(path), WHOLE) for path, key in prints.items()})
    cache = FeatureCache(cache_directory(model, processor))

    def features(path: str, view: View = WHOLE) -> torch.Tensor:
        return cache[view.key(prints[path])]

    start_from_words(model, processor, examples, set(prints), features)

    model.cpu()
    table = model.get_input_embeddings().weight.detach()  # [vocabulary, Dt]
    ids = [processor.tokenizer(" " + word, add_special_tokens=False).input_ids for word in WORDS]
    only = [set(found) - set().union(*(ids[:i] + ids[i + 1 :])) for i, found in enumerate(ids)]
    named = torch.stack([table[sorted(found)].mean(0) for found in only])  # [words, Dt]
    right = 0
    for example in examples:
        seen = features(str(example.images[0]))  # [N, Dv]
        with torch.no_grad():
            tokens = model.model.multi_modal_projector(seen).mean(0)  # [Dt]
        near = F.cosine_similarity(tokens - table.mean(0), named - table.mean(0), dim=-1)
        right += WORDS[int(near.argmax())] in example.answers[0]
    assert right >= 0.75 * len(examples)  # one in six by chance
