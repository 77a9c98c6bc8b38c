"""From rows of pictures and captions to batches of pairs, with features that are computed once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor

from training.align.captions import CaptionPairs, pair_captions, read_captions
from training.align.settings import AlignSettings
from training.common.features import SHARD, FeatureCache, fill, pixels_of
from training.common.pictures import open_pictures
from training.common.planning import (
    data_files,
    data_fingerprint,
    draw_rows,
    indices_of,
    refuse_leaks,
)
from training.common.recipe import PlanSize, TrainPlan
from training.common.rows import TrainRows, ValidationSet
from training.common.skipped import FileProblems, SkippedRows, refuse_none_left, refuse_or_skip
from training.common.timing import timed
from vqa.alignment.dual_encoder import DualEncoder, tokenize
from vqa.alignment.joint import JointModel, text_features
from vqa.data.split import held_out
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.models.encoders import encoder_batch_size
from vqa.utils import cache as user_cache
from vqa.utils import fingerprint

_CAPTIONS_AT_ONCE = 64
_SHARD = 4 * SHARD  # features of one vector each
_PARTS = {"vision": ("vision_tower", "picture_head"), "text": ("text_tower", "text_head")}


class PairBatches(TrainRows):
    """Batches of pairs in the order in which they are trained on.

    A row is what one process takes of one step; the rows of a step follow each other.
    """

    def __init__(
        self,
        batches: list[NDArray[np.int32]],
        data: CaptionPairs,
        picture: Callable[[int], Tensor],
        text: Callable[[int], Tensor],
    ) -> None:
        self.batches = batches
        self.data = data
        self.dtype = torch.float32
        self._picture = picture  # features [F] or pixels [3, H, W]
        self._text = text  # features [F]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pairs = self.batches[index]  # [B, 2]
        return {
            "pictures": torch.stack([self._picture(number) for number in pairs[:, 0].tolist()]),
            "texts": torch.stack([self._text(number) for number in pairs[:, 1].tolist()]),
            "picture_ids": torch.from_numpy(pairs[:, 0].astype(np.int64)),  # [B]
            "text_ids": torch.from_numpy(pairs[:, 1].astype(np.int64)),  # [B]
        }


@dataclass(frozen=True)
class AlignPlan(TrainPlan):
    """Which pictures are trained on and which are measured."""

    data: CaptionPairs
    train: NDArray[np.int32]  # pictures
    val_data: CaptionPairs
    validation: NDArray[np.int32]  # pictures of `val_data`
    batch: int  # pairs of a step
    skipped: SkippedRows
    data_fingerprint: str
    fingerprints: dict[str, str]  # of the files of pictures that can be opened, by path

    @cached_property
    def pairs(self) -> NDArray[np.int32]:
        """The pairs [P, 2] that are trained on."""
        return self.data.pairs_of(self.train)

    @property
    def size(self) -> PlanSize:
        """How large the run is."""
        batches = max(1, len(self.pairs) // min(self.batch, len(self.pairs)))
        return PlanSize(len(self.pairs), len(self.train), len(self.validation), batches)


def plan_pairs(settings: AlignSettings, encoder: DualEncoder) -> AlignPlan:
    """Read the data and keep pictures for validation.

    Raises InputError with all rows that cannot be used: whose picture cannot be opened, or whose
    caption `encoder` does not take.
    """
    paths = data_files(settings, "pictures and captions")
    files = [FileProblems(path) for path in paths]
    taken = FeatureCache(_directory(encoder, "text"))  # what was encoded was taken

    def check(texts: Sequence[str]) -> None:
        encoder.check_texts([text for text in texts if _key(text) not in taken])

    tables = [read_captions(file, settings, check) for file in files]
    opened = open_pictures(sorted({row.image for rows, _ in tables for row in rows}))
    for file, (rows, _) in zip(files, tables, strict=True):
        for row in rows:
            file.add_pictures(row.line, [row.image], opened.broken)
    skipped = refuse_or_skip(files, settings.skip_bad)
    parts = [pair_captions(rows, opened.fingerprints, count) for rows, count in tables]
    for file, part in zip(files, parts, strict=True):
        refuse_none_left(file, len(part.pairs))
    data, val_data = parts[0], parts[-1]
    if settings.validation.data is None:
        contents = held_out(data.fingerprints, settings.validation.share, settings.seed)
        apart = np.array([key in contents for key in data.fingerprints], dtype=np.bool_)
        validation, train = indices_of(apart), indices_of(~apart)
    else:
        fingerprints, val_file = opened.fingerprints, settings.validation.data
        refuse_leaks(data.pictures, val_data.pictures, fingerprints, val_file)
        train, validation = (np.arange(len(d.pictures), dtype=np.int32) for d in (data, val_data))
    validation = draw_rows(validation, settings.validation.pictures, settings.seed)
    if len(train) < 2:
        raise InputError(f"{settings.data}: to tell pictures apart takes two of them at least")
    return AlignPlan(
        data, train, val_data, validation, settings.batch, skipped, data_fingerprint(paths),
        opened.fingerprints,
    )  # fmt: skip


def count_steps(settings: AlignSettings, pairs: int) -> int:
    """Count the optimizer steps of a run over so many pairs."""
    size = min(settings.batch, pairs)
    return settings.max_steps or max(1, round(settings.epochs * pairs / size))


def batches_of(
    pairs: NDArray[np.int32], settings: AlignSettings, steps: int, processes: int
) -> list[NDArray[np.int32]]:
    """Take the pairs [B, 2] of each process and step: all of them in a new order every epoch.

    What is left at the end of an epoch, too few for a batch, has its turn in another order.
    """
    size = min(settings.batch, len(pairs)) // processes * processes
    if size < 2 * processes:
        raise InputError(
            f"batch={settings.batch} gives {processes} processes too few pairs each: it takes two "
            "or more"
        )
    batches: list[NDArray[np.int32]] = []
    epoch = 0
    while len(batches) < steps * processes:
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(pairs))
        for start in range(0, len(pairs) - size + 1, size):
            batches += np.split(pairs[order[start : start + size]], processes)
        epoch += 1
    return batches[: steps * processes]


def prepare(
    settings: AlignSettings, encoder: DualEncoder, plan: AlignPlan
) -> tuple[PairBatches, ValidationSet | None]:
    """Compute the features that are missing, set the heads' statistics, and put batches together.

    With `train.vision` batches hold the pictures themselves.
    """
    data, val_data = plan.data, plan.val_data
    parts = [(data, plan.train)] + [(val_data, plan.validation)] * bool(len(plan.validation))
    texts = _texts(encoder, [(d, np.unique(d.pairs_of(p)[:, 1])) for d, p in parts])
    pictures = _pictures(encoder, parts)
    _calibrate(encoder.model, plan.pairs, data, pictures, texts)
    pixels = pixels_of(encoder.image_processor)

    def rows(part: CaptionPairs, batches: list[NDArray[np.int32]]) -> PairBatches:
        return PairBatches(
            batches,
            part,
            (lambda n: pixels(part.pictures[n])[0])
            if settings.train.vision
            else lambda n: pictures[part.fingerprints[n]],
            lambda n: texts[_key(part.texts[n])],
        )

    processes = PartialState().num_processes
    batches = batches_of(plan.pairs, settings, count_steps(settings, len(plan.pairs)), processes)
    validation = None
    if len(plan.validation):
        pairs = val_data.pairs_of(plan.validation)
        batch = np.array_split(pairs, max(1, math.ceil(len(pairs) / settings.batch)))
        validation = ValidationSet(rows(val_data, batch), plan.validation.tolist())
    return rows(data, batches), validation


_TIMED = 4  # pictures, and texts, that a guess is made from


def seconds_of_features(settings: AlignSettings, encoder: DualEncoder, plan: AlignPlan) -> float:
    """Estimate how long the features take that no run has left behind."""
    data, seconds = plan.data, 0.0
    cache = FeatureCache(_directory(encoder, "text"))
    texts = [text for text in data.texts if _key(text) not in cache]
    if texts:
        few = texts[:_TIMED]
        seconds += timed(lambda: encoder.encode_texts(few)) * len(texts) / len(few)
    cache = FeatureCache(_directory(encoder, "vision"))
    keys = zip(data.pictures, data.fingerprints, strict=True)
    paths = [path for path, key in keys if key not in cache]
    if paths and not settings.train.vision:
        some = paths[:_TIMED]
        each = timed(lambda: encoder.encode_images([load_image(path) for path in some])) / len(some)
        seconds += each * len(paths)
    return seconds


def _key(text: str) -> str:
    return fingerprint.of_bytes(text.encode())


def _directory(encoder: DualEncoder, kind: str) -> Path:
    """Name the directory of an encoder's features: by its weights and how its input is made."""
    tower, head = (getattr(encoder.model, name) for name in _PARTS[kind])
    if kind == "vision":
        before = encoder.image_processor.to_dict()
    else:  # not as it is written: how the last batch was filled up is part of that
        tokenizer = json.loads(encoder.tokenizer.backend_tokenizer.to_str())
        before = {key: tokenizer[key] for key in ("normalizer", "pre_tokenizer", "model")}
    identity = [kind, head.linear.in_features, fingerprint.of_module(tower), before]
    if kind == "vision" and encoder.model.class_names is not None:
        identity.append(fingerprint.of_module(encoder.model.class_names))
    return user_cache.cache_dir() / "alignment" / fingerprint.of_json(identity)


def _open(encoder: DualEncoder, kind: str) -> FeatureCache:
    directory = _directory(encoder, kind)
    directory.mkdir(parents=True, exist_ok=True)
    return FeatureCache(directory)


def _texts(
    encoder: DualEncoder, parts: Sequence[tuple[CaptionPairs, NDArray[np.int32]]]
) -> FeatureCache:
    cached = _open(encoder, "text")
    texts = {_key(data.texts[n]): data.texts[n] for data, numbers in parts for n in numbers}
    cached.check(texts)
    # texts of one length together: no token is spent on filling up
    todo = sorted(
        ((key, text) for key, text in texts.items() if key not in cached), key=lambda t: len(t[1])
    )
    model: JointModel = encoder.model

    def encode(batch: Sequence[str]) -> Tensor:
        tokens = tokenize(encoder.tokenizer, list(batch)).to(encoder.device)
        return text_features(model.text_tower, **tokens).float()

    fill(cached, todo, _CAPTIONS_AT_ONCE, encode, "captions", _SHARD)
    return cached


def _pictures(
    encoder: DualEncoder, parts: Sequence[tuple[CaptionPairs, NDArray[np.int32]]]
) -> FeatureCache:
    cached = _open(encoder, "vision")
    files = {data.fingerprints[n]: data.pictures[n] for data, numbers in parts for n in numbers}
    cached.check(files)
    todo = [(key, path) for key, path in files.items() if key not in cached]
    model: JointModel = encoder.model

    with ThreadPoolExecutor() as pool:

        def encode(batch: Sequence[str]) -> Tensor:
            images = list(pool.map(load_image, batch))
            pixels = encoder.image_processor(images, return_tensors="pt")["pixel_values"]
            return model.picture_features(pixels.to(encoder.device)).float()

        size = encoder_batch_size(encoder.device)
        fill(cached, todo, size, encode, "pictures", _SHARD)
    return cached


_SAMPLE = 5000  # pictures, and texts, that statistics are measured on


def _calibrate(
    model: JointModel,
    pairs: NDArray[np.int32],
    data: CaptionPairs,
    pictures: FeatureCache,
    texts: FeatureCache,
) -> None:
    def some(column: int) -> Iterator[int]:
        numbers = np.unique(pairs[:, column])
        yield from numbers[:: max(1, len(numbers) // _SAMPLE)].tolist()

    model.picture_head.calibrate(torch.stack([pictures[data.fingerprints[n]] for n in some(0)]))
    model.text_head.calibrate(torch.stack([texts[_key(data.texts[n])] for n in some(1)]))
