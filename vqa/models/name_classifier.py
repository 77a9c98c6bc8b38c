"""The classifier that an encoder was trained with: the names that it has for a picture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from vqa.errors import InputError
from vqa.inputs.hints import Name
from vqa.models.model_files import CLASSIFIER, HINT_SETTINGS
from vqa.utils import fingerprint
from vqa.utils.files import atomic_write
from vqa.utils.json_files import read_object


@dataclass(frozen=True)
class HintSettings:
    """Which of the classifier's names a model's prompt has, as in its training."""

    most: int = 3  # names
    least: float = 0.08  # probability of a name
    parts: float = 0.6  # probability of a name of a quarter or the middle of a picture; 1 for none


class NameClassifier:
    """Names pictures by the mean of the encoder's last map, and by the means of its parts.

    A convolutional encoder's classifier reads the mean of the last map over all places. The same
    weights on the mean of a quarter say what is there, without another pass of the encoder.
    """

    def __init__(
        self, path: Path, weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor,
        settings: HintSettings,
    ) -> None:  # fmt: skip
        """`weight` [K, D] and `bias` [K] are those in the file `path`.

        `mean` and `std` [Dv] are those by which the tower normalises its joined features.
        """
        self._path = path
        width = weight.shape[1]
        # undo the normalisation inside the product: W (f * std + mean) + b
        self._weight = weight * std[:width]  # [K, D]
        self._bias = bias + weight @ mean[:width]  # [K]
        self.settings = settings
        self._names = class_names(len(weight))

    @property
    def fingerprint(self) -> str:
        """Identity of the classifier and of which names it gives."""
        weights = self._weight.numpy().tobytes() + self._bias.numpy().tobytes()
        return fingerprint.of_json([fingerprint.of_bytes(weights), asdict(self.settings)])

    def save(self, directory: Path) -> None:
        """Write the classifier and its settings beside a model that was trained with them."""
        shutil.copyfile(self._path, directory / CLASSIFIER)
        write_hint_settings(directory, self.settings)

    @torch.inference_mode()
    def __call__(self, features: Tensor) -> list[list[Name]]:
        """Name pictures by their patch features [B, N, Dv], the likeliest name first."""
        width = self._weight.shape[1]
        side = round(features.shape[1] ** 0.5)
        maps = features[..., :width].float().unflatten(1, (side, side))  # [B, h, w, D]
        windows = [maps.mean((1, 2)), *(maps[:, r, c].mean((1, 2)) for r, c in _parts(side))]
        logits = F.linear(torch.stack(windows, 1), self._weight, self._bias)  # [B, W, K]
        return [self._choose(scores) for scores in logits.softmax(-1)]

    def _choose(self, scores: Tensor) -> list[Name]:
        """Choose names by their probabilities [W, K] in the whole picture and in its parts."""
        settings = self.settings
        whole = scores[0].topk(settings.most)
        names: dict[str, float] = {}
        for value, number in zip(whole.values.tolist(), whole.indices.tolist(), strict=True):
            if value >= settings.least:  # the likeliest first: two classes are called crane
                names.setdefault(self._names[number], value)
        best = scores[1:].max(-1)
        for value, number in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            name = self._names[number]
            if value >= settings.parts and name not in names:
                names[name] = settings.least  # somewhere in it: no more than maybe
        return [Name(text, value) for text, value in names.items()]


def _parts(side: int) -> list[tuple[slice, slice]]:
    """Give the quarters of a map and its middle, as slices of rows and columns."""
    if side < 4:
        return []
    first, last = slice(0, side // 2), slice(side - side // 2, side)
    middle = slice(side // 4, side - side // 4)
    quarters = [(rows, columns) for rows in (first, last) for columns in (first, last)]
    return [*quarters, (middle, middle)]


def class_names(count: int) -> list[str]:
    """List the names of ImageNet's classes, the first one of each synset.

    Raises InputError for a classifier of another number of classes.
    """
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    if count != info.num_classes():
        raise InputError(
            f"{CLASSIFIER}: it has {count} classes, but only ImageNet's {info.num_classes()} have "
            "names here: remove the file"
        )
    return [info.index_to_description(n).split(",")[0] for n in range(count)]


def has_hints(sources: Sequence[str]) -> bool:
    """Return whether a model, or its adapter, was trained with hints; `sources` are directories."""
    return _first_file(sources, HINT_SETTINGS) is not None


def find_name_classifier(sources: Sequence[str], tower: Any) -> NameClassifier | None:
    """Open the classifier of a model that was trained with hints; None for any other model.

    `sources` are the model's directory and its adapter's. The settings of the last one that has
    some hold. Raises InputError as `open_name_classifier` does, and for settings that are none.
    """
    settings = _hint_settings(sources)
    return None if settings is None else open_name_classifier(sources, tower, settings)


def open_name_classifier(
    sources: Sequence[str], tower: Any, settings: HintSettings
) -> NameClassifier:
    """Open the classifier in the first of some directories that has one.

    Raises InputError where none has, or where it does not fit to the tower.
    """
    path = _first_file(sources, CLASSIFIER)
    if path is None or not hasattr(tower, "feature_mean"):
        raise InputError(
            f"{sources[-1]}: hints need the classifier of the encoder, but {CLASSIFIER} is missing"
        )
    return load_name_classifier(path, tower, settings)


def load_name_classifier(path: Path, tower: Any, settings: HintSettings) -> NameClassifier:
    """Open the classifier in a file. Raises InputError where it does not fit to the tower."""
    head = load_file(path)
    mean, std = tower.feature_mean.float().cpu(), tower.feature_std.float().cpu()
    weight, bias = (head.get(name, torch.empty(0)).float() for name in ("weight", "bias"))
    if weight.ndim != 2 or bias.shape != weight.shape[:1] or weight.shape[1] > len(mean):
        raise InputError(f"{path}: it does not fit to the encoder's {len(mean)} features")
    return NameClassifier(path, weight, bias, mean, std, settings)


def write_hint_settings(directory: Path, settings: HintSettings) -> None:
    """Note in a model's or adapter's directory that it was trained with hints."""
    with atomic_write(directory / HINT_SETTINGS) as file:
        json.dump(asdict(settings), file, indent=2)
        file.write("\n")


def _hint_settings(sources: Sequence[str]) -> HintSettings | None:
    """Read the hint settings of the last of some directories that has some."""
    path = _first_file(sources[::-1], HINT_SETTINGS)
    if path is None:
        return None
    values = read_object(path)
    try:
        settings = HintSettings(**values)
        valid = 1 <= settings.most <= 20 and 0 < settings.least < 1 and settings.parts > 0
    except TypeError:
        valid = False
    if not valid:
        raise InputError(f"{path}: most (1 to 20), least and parts (0 to 1) are expected")
    return settings


def _first_file(sources: Sequence[str], name: str) -> Path | None:
    paths = (Path(source) / name for source in sources)
    return next((path for path in paths if path.is_file()), None)
