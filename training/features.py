"""Patch features of a frozen encoder, computed once for each picture and kept on disk.

One safetensors file holds the features of up to `SHARD` pictures under the fingerprints of the
pictures' bytes. A file appears whole or not at all, so a run that was killed computes at most one
file again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.progress import Progress
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from training.views import View
from vqa import cache, fingerprint
from vqa.encoders import patch_features, pictures_at_once
from vqa.images import load_image

SHARD = 256


class FeatureCache:
    """Features [N, Dv] by the fingerprint of a picture's file, memory-mapped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files = ExitStack()
        self._where: dict[str, Any] = {}
        for path in sorted(directory.glob("*.safetensors")):
            self._open(path)

    def _open(self, path: Path) -> None:
        file = self._files.enter_context(safe_open(path, framework="pt"))
        self._where.update((key, file) for key in file.keys())  # noqa: SIM118

    def __contains__(self, key: str) -> bool:
        return key in self._where

    def __getitem__(self, key: str) -> Tensor:
        return self._where[key].get_tensor(key)  # [N, Dv]

    def add(self, features: dict[str, Tensor]) -> None:
        """Write a new file with `features` and map it."""
        name = fingerprint.of_json(sorted(features))
        path = self.directory / f"{name}.safetensors"
        beside = path.with_suffix(f".{os.getpid()}.tmp")
        save_file(features, beside)
        beside.replace(path)
        self._open(path)


def cache_directory(model: Any, processor: Any) -> Path:
    """Where the features of this encoder, image transform and type are kept."""
    config = model.config
    identity = fingerprint.of_json(
        [
            fingerprint.of_module(model.model.vision_tower),
            str(model.dtype),
            processor.image_processor.to_dict(),
            config.vision_feature_layer,
            config.vision_feature_select_strategy,
        ]
    )
    return cache.cache_directory() / "features" / identity


def fingerprints(paths: Sequence[str]) -> dict[str, str]:
    """The fingerprint of each file's content; InputError where one cannot be read."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(paths, pool.map(fingerprint.of_file, paths), strict=True))


@torch.inference_mode()
def cache_features(model: Any, processor: Any, pictures: Mapping[str, tuple[Path, View]]) -> None:
    """Compute the features that are missing. `pictures` are files and what of them is seen.

    Their keys are the views' keys, which for whole pictures are the fingerprints of their files.
    """
    directory = cache_directory(model, processor)
    directory.mkdir(parents=True, exist_ok=True)
    held = FeatureCache(directory)
    todo = [(key, *seen) for key, seen in pictures.items() if key not in held]
    if not todo:
        return
    device = next(model.model.vision_tower.parameters()).device
    with Progress() as progress, ThreadPoolExecutor() as pool:
        bar = progress.add_task("patch features", total=len(todo))
        for start in range(0, len(todo), SHARD):
            shard = todo[start : start + SHARD]
            done: dict[str, Tensor] = {}
            for batch in _batches(shard, pictures_at_once(device)):
                pictures_of_batch = list(pool.map(_seen, batch))
                pixels = processor.image_processor(pictures_of_batch, return_tensors="pt")
                pixel_values = pixels["pixel_values"].to(device, model.dtype)  # [B, 3, H, W]
                features = patch_features(model, pixel_values).cpu()  # [B, N, Dv]
                done.update(
                    (key, one.clone()) for (key, *_), one in zip(batch, features, strict=True)
                )
                progress.advance(bar, len(batch))
            held.add(done)


def _seen(item: tuple[str, Path, View]) -> Image.Image:
    _, path, view = item
    return view(load_image(path))


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


class CachedTower(nn.Module):
    """Stands where the frozen encoder stood and hands on features that are computed already.

    The projector stays inside the model's forward pass, where wrappers for several devices see it.
    """

    def __init__(self, before: tuple[nn.Module, Any, str]) -> None:
        super().__init__()
        self.before = before  # a tuple: the tower must not count as a part of this one

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """`pixel_values` are patch features [B, N, Dv]."""
        return BaseModelOutput(last_hidden_state=pixel_values, hidden_states=(pixel_values,))


@contextmanager
def cached_tower(llava: Any) -> Iterator[None]:
    """Let the model read patch features, as rows with cached features have them, as its pixels."""
    config = llava.config
    before = (
        llava.model.vision_tower,
        config.vision_feature_layer,
        config.vision_feature_select_strategy,
    )
    _set_tower(llava, CachedTower(before), -1, "full")
    try:
        yield
    finally:
        _set_tower(llava, *before)


@contextmanager
def own_tower(llava: Any) -> Iterator[None]:
    """Let the model read pictures again, for a while, where it reads cached features."""
    tower = llava.model.vision_tower
    if not isinstance(tower, CachedTower):
        yield
        return
    own, layer, strategy = tower.before
    # it stood aside while the model was moved
    own.to(next(llava.model.multi_modal_projector.parameters()).device)
    _set_tower(llava, own, layer, strategy)
    try:
        yield
    finally:
        _set_tower(llava, tower, -1, "full")


def _set_tower(llava: Any, tower: nn.Module, layer: Any, strategy: str) -> None:
    llava.model.vision_tower = tower
    llava.config.vision_feature_layer = layer
    llava.config.vision_feature_select_strategy = strategy
