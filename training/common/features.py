"""Patch features of a frozen encoder, computed once for each picture and stored on disk.

One safetensors file holds the features of up to `SHARD` pictures under the fingerprints of the
pictures' bytes. A file appears whole or not at all, so a run that was killed computes at most one
file again, and one that a signal has stopped none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import BaseImageProcessor, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from training.common.timing import timed
from training.common.views import WHOLE, View
from vqa.errors import InputError, NotFiniteError
from vqa.inputs.images import load_image
from vqa.inputs.tiles import has_tiles, prepare_crops
from vqa.models.encoders import encoder_batch_size, patch_features
from vqa.models.finite import first_not_finite
from vqa.utils import cache, checksums, fingerprint
from vqa.utils.disk import writing
from vqa.utils.files import lock
from vqa.utils.progress import progress_bar

SHARD = 256
Input = TypeVar("Input")


class FeatureCache:
    """Features [N, Dv] by the fingerprint of a picture's file, memory-mapped; of crops [C, N, Dv].

    A file that is damaged as a whole, such as one that is cut short, is removed with a line on
    standard error; `check` does so for damage inside.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files = ExitStack()
        self._open_files: dict[str, Any] = {}
        self._paths: dict[str, Path] = {}
        recorded = checksums.recorded_files(directory)
        for path in sorted(directory.glob("*.safetensors")):
            if path.name not in recorded or self._is_whole(path, "sizes"):
                self._open(path)

    def _open(self, path: Path) -> None:
        try:
            file = self._files.enter_context(safe_open(path, framework="pt"))
        except (OSError, SafetensorError):
            self._remove(path, f"{path} is damaged (it cannot be read)")
            return
        for key in file.keys():  # noqa: SIM118
            self._open_files[key], self._paths[key] = file, path

    def check(self, keys: Iterable[str]) -> None:
        """Drop the features in files of these `keys` that are damaged inside.

        Samples of each file are read. One of an earlier version, which has no checksum, gets one.
        """
        recorded = checksums.recorded_files(self.directory)
        for path in sorted({self._paths[key] for key in keys if key in self._paths}):
            if path.name in recorded:
                whole = self._is_whole(path, "sample")
            else:
                damage = checksums.find_unwritten(path)
                whole = damage is None
                if damage is not None:
                    self._remove(path, damage)
                else:
                    self._record(path)
            if not whole:
                lost = [key for key, its in self._paths.items() if its == path]
                for key in lost:
                    del self._open_files[key], self._paths[key]

    def _is_whole(self, path: Path, depth: checksums.Depth) -> bool:
        damage = checksums.find_damage(self.directory, depth, path.name)
        if damage is not None:  # or another process has just replaced it
            with suppress(InputError), lock(self.directory / checksums.RECORD):
                damage = checksums.find_damage(self.directory, depth, path.name)
        if damage is not None:
            self._remove(path, damage)
        return damage is None

    def _remove(self, path: Path, damage: str) -> None:
        print(f"vqa: {damage}; its features are computed again", file=sys.stderr, flush=True)
        with suppress(OSError):  # it is passed over all the same
            path.unlink()

    def _record(self, path: Path) -> None:
        with suppress(InputError, OSError), lock(self.directory / checksums.RECORD):
            checksums.record_checksums(self.directory, [path.name])

    def __contains__(self, key: str) -> bool:
        return key in self._open_files

    def __getitem__(self, key: str) -> Tensor:
        return self._open_files[key].get_tensor(key)  # [N, Dv] or [C, N, Dv]

    def add(self, features: dict[str, Tensor]) -> None:
        """Write a new file with `features` and map it; NotFiniteError where they are no numbers."""
        if first_not_finite(features.items()) is not None:
            raise NotFiniteError("of the encoder: it is damaged, get it anew", wider=False)
        name = fingerprint.of_json(sorted(features))
        path = self.directory / f"{name}.safetensors"
        beside = path.with_suffix(f".{os.getpid()}.tmp")
        with writing(path, "set VQA_CACHE to a directory with more room"):
            self.directory.mkdir(parents=True, exist_ok=True)  # it may have been emptied meanwhile
            try:
                save_file(features, beside)
                with lock(self.directory / checksums.RECORD):
                    beside.replace(path)
                    checksums.record_checksums(self.directory, [path.name])
            finally:
                beside.unlink(missing_ok=True)
        self._open(path)


def cache_directory(model: PreTrainedModel, image_processor: BaseImageProcessor) -> Path:
    """Name the directory of the features of this encoder, image transform and type."""
    config = model.config
    identity = fingerprint.of_json(
        [
            fingerprint.of_module(model.model.vision_tower),
            str(model.dtype),
            image_processor.to_dict(),
            config.vision_feature_layer,
            config.vision_feature_select_strategy,
        ]
    )
    return cache.cache_dir() / "features" / identity


def cache_features(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    pictures: Mapping[str, tuple[Path, View]],
) -> FeatureCache:
    """Compute the features that are missing; `pictures` are files and views of them, by key.

    The key of a whole picture is the fingerprint of its file.
    """
    directory = cache_directory(model, image_processor)
    directory.mkdir(parents=True, exist_ok=True)
    cached = FeatureCache(directory)
    cached.check(pictures)
    todo = [(key, picture) for key, picture in pictures.items() if key not in cached]
    size = encoder_batch_size(next(model.model.vision_tower.parameters()).device)
    with ThreadPoolExecutor() as pool:
        fill(
            cached,
            todo,
            size,
            lambda batch: _encoded(model, image_processor, batch, pool.map),
            "pictures",
        )
    return cached


@torch.inference_mode()
def fill(
    cached: FeatureCache,
    todo: Sequence[tuple[str, Input]],
    size: int,
    encode: Callable[[Sequence[Input]], Iterable[Tensor]],
    unit: str,
    shard: int = SHARD,
) -> None:
    """Encode the inputs `todo`, each under its key, `size` at once, and store their features."""
    if not todo:
        return
    with progress_bar(f"features of {unit}", unit) as tell:
        for start in range(0, len(todo), shard):
            done: dict[str, Tensor] = {}
            try:
                for begin in range(start, min(start + shard, len(todo)), size):
                    keys, inputs = zip(*todo[begin : min(begin + size, start + shard)], strict=True)
                    features = encode(inputs)
                    # copies: a slice would keep the features of the whole batch alive
                    copies = (one.clone().cpu() for one in features)
                    done |= dict(zip(keys, copies, strict=True))
                    tell(begin + len(keys), len(todo))
            finally:  # whatever cuts it short: what is encoded need not be encoded again
                if done:
                    cached.add(done)


def _encoded(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    batch: Sequence[tuple[Path, View]],
    run: Callable[..., Iterable[Any]] = map,
) -> Iterable[Tensor]:
    """Compute the patch features of each view [N, Dv]; of a model with tiles [C, N, Dv].

    `run` opens the pictures: `map`, or that of a pool.
    """
    pixels, counts = _crops_of(image_processor, batch, run)
    tower = next(model.model.vision_tower.parameters())
    parts = pixels.to(tower.device, model.dtype).split(len(batch))  # as many at once without tiles
    features = torch.cat([patch_features(model, part) for part in parts])  # [crops, N, Dv]
    return features.split(counts) if has_tiles(image_processor) else features


def _crops_of(
    image_processor: BaseImageProcessor,
    batch: Sequence[tuple[Path, View]],
    run: Callable[..., Iterable[Any]] = map,
) -> tuple[Tensor, list[int]]:
    """Prepare the crops of views [crops, 3, H, W], as many of each as the whole picture has."""

    def cut(item: tuple[Path, View]) -> tuple[Image.Image, tuple[int, int]]:
        path, view = item
        picture = load_image(path)
        return view(picture), picture.size

    views, sizes = zip(*run(cut, batch), strict=True)
    return prepare_crops(image_processor, views, sizes)


def by_crop(features: Tensor) -> Tensor:
    """Return the features of a picture as [C, N, Dv]: without tiles they are stored as [N, Dv]."""
    return features if features.ndim == 3 else features[None]


class PictureTensors(Protocol):
    """Gives patch features [C, N, Dv] or pixels [C, 3, H, W] of a view of a picture, by crop."""

    def __call__(self, path: str, view: View = WHOLE) -> Tensor: ...


def features_of(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    pictures: Mapping[str, tuple[Path, View]],
    fingerprints: Mapping[str, str],
) -> PictureTensors:
    """Return what gives patch features of `pictures`, views by key; compute those not cached.

    `fingerprints` are those of the pictures' files by path.
    """
    features = cache_features(model, image_processor, pictures)
    return lambda path, view=WHOLE: by_crop(features[view.key(fingerprints[path])])


def pixels_of(image_processor: BaseImageProcessor) -> PictureTensors:
    """Return what gives the pixels of pictures, which are read each time."""

    def pixels(path: str, view: View = WHOLE) -> Tensor:
        return _crops_of(image_processor, [(Path(path), view)])[0]

    return pixels


@torch.inference_mode()
def seconds_a_picture(
    model: PreTrainedModel, image_processor: BaseImageProcessor, paths: Sequence[str]
) -> float:
    """Measure how long the encoder takes for one of the pictures `paths`."""
    views = [(Path(path), WHOLE) for path in paths]
    return timed(lambda: _encoded(model, image_processor, views)) / len(paths)


class CachedTower(nn.Module):
    """Takes the place of the frozen encoder, and returns features that are computed already.

    The projector stays inside the model's forward pass, where wrappers for several devices see it.
    """

    def __init__(self, before: tuple[nn.Module, Any, str]) -> None:
        super().__init__()
        self.before = before  # a tuple: the tower must not count as a part of this one

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """Return `pixel_values`, which are patch features [B, N, Dv], as they are."""
        return BaseModelOutput(last_hidden_state=pixel_values, hidden_states=(pixel_values,))


@contextmanager
def cached_tower(model: PreTrainedModel) -> Iterator[None]:
    """Make the model take cached patch features [B, N, Dv] in place of pixels."""
    config = model.config
    before = (
        model.model.vision_tower,
        config.vision_feature_layer,
        config.vision_feature_select_strategy,
    )
    _set_tower(model, CachedTower(before), -1, "full")
    try:
        yield
    finally:
        _set_tower(model, *before)


@contextmanager
def original_tower(model: PreTrainedModel) -> Iterator[None]:
    """Make a model that takes cached features take pixels again, for a while."""
    tower = model.model.vision_tower
    if not isinstance(tower, CachedTower):
        yield
        return
    encoder, layer, strategy = tower.before
    # it stood aside while the model was moved
    encoder.to(next(model.model.multi_modal_projector.parameters()).device)
    _set_tower(model, encoder, layer, strategy)
    try:
        yield
    finally:
        _set_tower(model, tower, -1, "full")


def _set_tower(model: PreTrainedModel, tower: nn.Module, layer: Any, strategy: str) -> None:
    model.model.vision_tower = tower
    model.config.vision_feature_layer = layer
    model.config.vision_feature_select_strategy = strategy
