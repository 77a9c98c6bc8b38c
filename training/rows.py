"""From question-answer rows to packed rows of tokens whose patch features are cached."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from training.features import FeatureCache, cache_directory, cache_features
from training.packing import Encoded, Group, Row, group, pack, tensors
from training.settings import TrainSettings
from training.start import start_from_words
from vqa.data.example import Example
from vqa.data.flat import read
from vqa.errors import InputError
from vqa.prompts import Message, encode


class PackedRows(Dataset[dict[str, Tensor]]):
    """Rows of tokens in the order in which they are trained on, one after the other."""

    def __init__(
        self,
        rows: Sequence[Row],
        keys: dict[Path, str],
        features: FeatureCache,
        dtype: torch.dtype,
    ) -> None:
        self.rows = rows
        self.keys = keys  # picture -> its key in `features`
        self.features = features
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self.rows[index]
        batch = tensors(row)
        keys = [self.keys[Path(image)] for item in row for image in item.images]
        if keys:
            features = torch.stack([self.features[key] for key in keys])  # [pictures, N, Dv]
            batch["pixel_values"] = features.to(self.dtype)
        # an additive mask is exact under both SDPA and eager attention; a boolean one is not
        visible = batch["attention_mask"]
        batch["attention_mask"] = torch.zeros(visible.shape, dtype=self.dtype).masked_fill(
            ~visible, torch.finfo(self.dtype).min
        )  # [1, 1, T, T]
        return batch


def prepare(settings: TrainSettings, model: Any, processor: Any) -> PackedRows:
    """Read the data, compute missing features, and pack all epochs in their order."""
    if settings.data is None:
        raise InputError("data: name a JSONL file of rows with image, question and answer")
    examples = list(read(settings.data, settings.images or settings.data.parent))
    if not examples:
        raise InputError(f"{settings.data}: no rows")
    unknown = set(settings.repeat) - {str(example.extra.get("source")) for example in examples}
    if unknown:
        raise InputError(f"repeat: no row of {settings.data} has the source {sorted(unknown)[0]}")
    encoded: dict[str, list[Encoded]] = {}
    for example in track(examples, "tokens"):
        source = str(example.extra.get("source"))
        encoded.setdefault(source, []).append(encode_example(example, processor))
    token = model.config.image_token_index
    rows: list[Row] = []
    for epoch in range(math.ceil(settings.epochs)):
        groups = []
        for source, examples_of_source in encoded.items():
            found = group(examples_of_source, token, settings.row_tokens)
            groups += repeated(found, settings.repeat.get(source, 1), settings.seed + epoch)
        rows += pack(groups, settings.row_tokens, seed=settings.seed + epoch)
    rows = rows[: math.ceil(len(rows) * settings.epochs / math.ceil(settings.epochs))]
    used = {Path(image) for row in rows for item in row for image in item.images}
    with PartialState().main_process_first():  # the others find the features on disk
        keys = cache_features(model, processor, used)
    features = FeatureCache(cache_directory(model, processor))
    if settings.projector_start == "words":
        start_from_words(model, processor, examples, keys, features)
    return PackedRows(rows, keys, features, model.dtype)


def repeated(groups: list[Group], times: float, seed: int) -> list[Group]:
    """The groups `times` over; a fraction is a random part of them."""
    part = random.Random(seed).sample(groups, round(len(groups) * (times % 1)))
    return groups * int(times) + part


def encode_example(example: Example, processor: Any) -> Encoded:
    """Tokens and mask of one example."""
    # the text of a prompt does not depend on what is in its pictures
    placeholders = (_PLACEHOLDER,) * len(example.images)
    prompt = encode(
        processor,
        [
            Message("user", example.question, placeholders),
            Message("assistant", example.answers[0]),
        ],
        add_generation_prompt=False,
    )
    return Encoded(tuple(map(str, example.images)), prompt.input_ids, prompt.learned)


def _placeholder() -> Any:
    from PIL import Image

    return Image.new("RGB", (1, 1))


_PLACEHOLDER = _placeholder()
