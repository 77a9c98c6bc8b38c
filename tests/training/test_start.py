"""A projector that starts from words: features of a picture read as the words about it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from tests.tiny import llava_1_5
from training.common.features import by_crop, cache_features
from training.common.pictures import open_pictures
from training.common.views import WHOLE, View
from training.sft.start import start_from_words
from vqa.data.example import Example
from vqa.models.checkpoints import load

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
    prints = open_pictures([str(example.images[0]) for example in examples]).fingerprints
    pictures = {key: (Path(path), WHOLE) for path, key in prints.items()}
    cache = cache_features(model, processor.image_processor, pictures)

    def features(path: str, view: View = WHOLE) -> torch.Tensor:
        return by_crop(cache[view.key(prints[path])])

    start_from_words(model, processor, examples, set(prints), features)

    model.cpu()
    table = model.get_input_embeddings().weight.detach()  # [vocabulary, Dt]
    ids = [processor.tokenizer(" " + word, add_special_tokens=False).input_ids for word in WORDS]
    only = [set(own) - set().union(*(ids[:i] + ids[i + 1 :])) for i, own in enumerate(ids)]
    named = torch.stack([table[sorted(tokens)].mean(0) for tokens in only])  # [words, Dt]
    right = 0
    for example in examples:
        (patches,) = features(str(example.images[0]))  # [N, Dv]
        with torch.no_grad():
            tokens = model.model.multi_modal_projector(patches).mean(0)  # [Dt]
        near = F.cosine_similarity(tokens - table.mean(0), named - table.mean(0), dim=-1)
        right += WORDS[int(near.argmax())] in example.answers[0]
    assert right >= 0.75 * len(examples)  # one in six by chance
