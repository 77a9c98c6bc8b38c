"""Packed rows of tokens with their pictures, as the training loop takes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils.data import Dataset

from training.features import FeatureCache, cache_directory, cache_features
from training.packing import Groups, Rows, joined, pack, tensors
from training.planning import Planned, groups_of, plan, read_rows
from training.settings import TrainSettings
from training.start import start_from_words
from training.tokens import Tokens
from training.views import WHOLE, View
from vqa import fingerprint
from vqa.data.example import Example
from vqa.data.identity import sha256
from vqa.errors import InputError
from vqa.images import load_image
from vqa.metrics import Metric, metric

# Part of the identity of cached tokens: raise it when prompts or masks are made in another way.
_TOKENS = 1


class Pictures(Protocol):
    """Gives patch features [N, Dv] or pixels [3, H, W] of what a view shows of a picture."""

    def __call__(self, path: str, view: View = WHOLE) -> Tensor: ...


class TrainRows(Dataset[dict[str, Tensor]], ABC):
    """Rows in the order in which they are trained on; each is what runs at once."""

    dtype: torch.dtype  # that training computes in

    @abstractmethod
    def __len__(self) -> int:
        """How many rows there are."""


class PackedRows(TrainRows):
    """Rows of tokens in the order in which they are trained on, one after the other."""

    def __init__(
        self,
        tokens: Tokens,
        groups: Groups,
        rows: Rows,
        pictures: Pictures,
        dtype: torch.dtype,
        view: Callable[[int], View] = lambda place: WHOLE,
    ) -> None:
        self.tokens = tokens
        self.groups = groups
        self.rows = rows
        self.pictures = pictures
        self.dtype = dtype
        self.view = view  # of a group's pictures, by its place in `rows.groups`

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = []
        seen = []
        for place, number in enumerate(self.rows[index], int(self.rows.starts[index])):
            members = self.groups[number].tolist()
            cut = int(self.tokens.arrays["cuts"][members[0]])
            row.append(joined([self.tokens[member] for member in members], cut))
            if row[-1].images:
                view = self.view(place)
                seen += [self.pictures(path, view) for path in row[-1].images]
        batch = tensors(row)
        if seen:
            batch["pixel_values"] = torch.stack(seen).to(self.dtype)  # [pictures, ...]
        # an additive mask is exact under both SDPA and eager attention; a boolean one is not
        visible = batch["attention_mask"]
        batch["attention_mask"] = torch.zeros(visible.shape, dtype=self.dtype).masked_fill(
            ~visible, torch.finfo(self.dtype).min
        )  # [1, 1, T, T]
        return batch


@dataclass(frozen=True)
class Validation:
    """What is measured during a training, on pictures that it never sees."""

    rows: TrainRows
    examples: list[Example]
    metric: Metric


@dataclass(frozen=True)
class Prepared:
    """The rows of a run, and the identity of its data."""

    train: TrainRows
    validation: Validation | None
    data: str  # fingerprint of the data files
    examples: int  # rows of the data that are trained on
    pictures: int  # and their different pictures


def prepare(settings: TrainSettings, model: Any, processor: Any, pixels: bool = False) -> Prepared:
    """Plan the run, compute the features that are missing, and start the projector.

    With `pixels` the rows hold the pictures themselves and not their features: for an encoder that
    is trained too.
    """
    with PartialState().main_process_first():  # the others find tokens and features on disk
        planned = plan(settings, model.config, processor)
        pictures = (
            pixels_of(processor)
            if pixels
            else features_of(model, processor, planned.seen(), planned.prints)
        )
        if settings.projector_start == "words":
            if pixels:
                raise InputError("projector_start: words needs a frozen encoder; use as_is")
            rows = read_rows(settings.data, settings)
            start_from_words(model, processor, rows, planned.said, pictures)
    train = PackedRows(
        planned.tokens, planned.groups, planned.rows, pictures, model.dtype, planned.view
    )
    own = settings.validation.data
    files = [path for path in (settings.data, own) if path is not None]
    return Prepared(
        train,
        _validation(planned, settings, pictures, model.dtype) if len(planned.measured) else None,
        fingerprint.of_json([sha256(path) for path in files]),
        len(planned.trained),
        len(planned.trained_pictures()),
    )


def _validation(
    planned: Planned, settings: TrainSettings, pictures: Pictures, dtype: torch.dtype
) -> Validation:
    groups = groups_of(planned.checked, planned.measured, settings)
    rows = pack(groups.tokens, settings.row_tokens, settings.seed)
    wanted = set(planned.measured.tolist())
    source = read_rows(settings.validation.data or settings.data, settings)
    examples = [example for number, example in enumerate(source) if number in wanted]
    packed = PackedRows(planned.checked, groups, rows, pictures, dtype)
    return Validation(packed, examples, metric(settings.validation.metric))


def features_of(
    model: Any, processor: Any, seen: Mapping[str, tuple[Path, View]], prints: Mapping[str, str]
) -> Pictures:
    """The patch features of what is `seen`, by its keys; what the cache lacks is computed."""
    cache_features(model, processor, seen)
    features = FeatureCache(cache_directory(model, processor))
    return lambda path, view=WHOLE: features[view.key(prints[path])]


def pixels_of(processor: Any) -> Pictures:
    def pixels(path: str, view: View = WHOLE) -> Tensor:
        prepared = processor.image_processor(view(load_image(path)), return_tensors="pt")
        found: Tensor = prepared["pixel_values"][0]  # [3, H, W]
        return found

    return pixels
