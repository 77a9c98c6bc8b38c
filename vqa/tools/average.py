"""Average the weights of several runs (Wortsman et al. 2022, arXiv:2203.05482, "model soups").

A run and one that went on from it err in different ways; their mean may keep what both have
learned, and costs nothing when answering.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vqa.errors import InputError
from vqa.models import checkpoints
from vqa.models.finite import check_weights
from vqa.models.model_files import HINT_SETTINGS
from vqa.models.runs import resolve_and_warn
from vqa.utils.files import atomic_directory
from vqa.utils.json_files import read_object

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
# what of peft's config says what the weights do; the rest tells how they came about
_ALIKE = (
    "r", "lora_alpha", "use_dora", "use_rslora", "rank_pattern", "alpha_pattern",
    "target_modules", "modules_to_save",
)  # fmt: skip


def average(runs: Sequence[str], out: str | Path) -> None:
    """Write an adapter into `out` whose weights are the mean of those of `runs`.

    The mean is taken in float32 of each matrix by itself and stored in the first run's type. LoRA's
    two matrices of a layer are averaged one by one, so the runs have to have begun from the same
    adapter, or one from the other: means of runs that each drew their own say nothing. Raises
    InputError where there are fewer than two, one has no adapter, they are not on the same base, of
    the same shape or trained with the same hints, or `out` exists, and VQAError where the mean is
    not finite.
    """
    if len(runs) < 2:
        raise InputError("name at least two runs: the mean of one is itself")
    runs = [resolve_and_warn(run) for run in runs]
    first = runs[0]
    base, config = checkpoints.base_of(_check_adapter(first)), _config(first)
    for run in runs[1:]:
        if checkpoints.base_of(_check_adapter(run)) != base:
            raise InputError(f"{run} is on {checkpoints.base_of(run)}, {first} on {base}")
        for key, value in _config(run).items():
            if value != config[key]:
                raise InputError(f"{run} has {key}={value}, {first} {config[key]}")
        if _hints(run) != _hints(first):
            raise InputError(f"{run} and {first} were trained with other hints ({HINT_SETTINGS})")
    source = checkpoints.resolve_source(base)
    for run in runs:
        checkpoints.check_base(run, base, source)
    mean = _mean(runs)
    check_weights(mean.items(), "one of the runs is damaged; average the others")
    with atomic_directory(out) as directory:
        save_file(mean, directory / _WEIGHTS, metadata={"format": "pt"})
        text = (Path(first) / _CONFIG).read_text(encoding="utf-8")
        (directory / _CONFIG).write_text(text, encoding="utf-8")
        if (Path(first) / HINT_SETTINGS).is_file():
            shutil.copyfile(Path(first) / HINT_SETTINGS, directory / HINT_SETTINGS)
        checkpoints.record_base(directory, base)


def _check_adapter(run: str) -> str:
    if not checkpoints.is_adapter(run):
        raise InputError(f"{run}: no adapter here ({_CONFIG} is missing)")
    return run


def _config(run: str) -> dict[str, Any]:
    """Read the values of `_ALIKE` in the adapter's config, lists of names in one order.

    What an exported adapter leaves out, a run has as an empty pattern or false.
    """
    config = read_object(Path(run) / _CONFIG)
    values = {key: config.get(key) or None for key in _ALIKE}
    return {key: sorted(v) if isinstance(v, list) else v for key, v in values.items()}


def _hints(run: str) -> dict[str, Any] | None:
    path = Path(run) / HINT_SETTINGS
    return read_object(path) if path.is_file() else None


def _mean(runs: Sequence[str]) -> dict[str, Tensor]:
    """Average the runs' tensors by name; one run's weights are in memory at a time."""
    weights = _weights(runs[0])
    types = {name: value.dtype for name, value in weights.items()}
    total = {name: value.float() for name, value in weights.items()}
    for run in runs[1:]:
        weights = _weights(run)
        for name in weights.keys() | total.keys():
            if name not in weights or name not in total or weights[name].shape != total[name].shape:
                raise InputError(f"{run} and {runs[0]} do not have the same weights: {name}")
            total[name] = total[name] + weights[name].float()
    return {name: (value / len(runs)).to(types[name]) for name, value in total.items()}


def _weights(run: str) -> dict[str, Tensor]:
    path = Path(run) / _WEIGHTS
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
