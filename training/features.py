"""Patch features of a frozen encoder, computed once for each picture and kept on disk.

One safetensors file holds the features of up to `SHARD` pictures under the fingerprints of the
pictures' bytes. A file appears whole or not at all, so a run that was killed computes at most one
file again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_dir
from rich.progress import Progress
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from vqa import fingerprint
from vqa.encoders import patch_features
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
    root = Path(os.environ.get("VQA_CACHE") or user_cache_dir("vqa"))
    return root / "features" / identity


@torch.inference_mode()
def cache_features(model: Any, processor: Any, pictures: Iterable[Path]) -> dict[Path, str]:
    """Compute what is missing and return each picture's key in `FeatureCache`."""
    directory = cache_directory(model, processor)
    directory.mkdir(parents=True, exist_ok=True)
    cache = FeatureCache(directory)
    ordered = sorted(set(pictures))
    with ThreadPoolExecutor() as pool:
        keys = dict(zip(ordered, pool.map(fingerprint.of_file, ordered), strict=True))
    missing = {key: path for path, key in keys.items() if key not in cache}
    if not missing:
        return keys
    todo = list(missing.items())
    device = next(model.model.vision_tower.parameters()).device
    with Progress() as progress, ThreadPoolExecutor() as pool:
        bar = progress.add_task("patch features", total=len(todo))
        for start in range(0, len(todo), SHARD):
            shard = todo[start : start + SHARD]
            done: dict[str, Tensor] = {}
            for batch in _batches(shard, 16):
                pictures_of_batch = list(pool.map(load_image, [path for _, path in batch]))
                pixels = processor.image_processor(pictures_of_batch, return_tensors="pt")
                pixel_values = pixels["pixel_values"].to(device, model.dtype)  # [B, 3, H, W]
                features = patch_features(model, pixel_values).cpu()  # [B, N, Dv]
                done.update(
                    (key, one.clone()) for (key, _), one in zip(batch, features, strict=True)
                )
                progress.advance(bar, len(batch))
            cache.add(done)
    return keys


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


class CachedTower(nn.Module):
    """Stands where the frozen encoder stood and hands on features that are computed already.

    The projector stays inside the model's forward pass, where wrappers for several devices see it.
    """

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """`pixel_values` are patch features [B, N, Dv]."""
        return BaseModelOutput(last_hidden_state=pixel_values, hidden_states=(pixel_values,))
