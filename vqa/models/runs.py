"""A training run's directory: its record, its checkpoints and its weights.

A run that is not finished, stopped or in progress, answers with its last checkpoint.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vqa.errors import InputError
from vqa.utils.json_files import read_object

RUN = "run.json"
STATE = "trainer_state.json"  # a checkpoint's last file
TRAINED = "trained.safetensors"  # what a run without an adapter trains of a model
_STATE_BYTES = 1 << 28  # with the log of a run of millions of steps
_WEIGHTS = ("adapter_config.json", "config.json", TRAINED)  # any of them tells a kind of weights


class UnfinishedRun(UserWarning):
    """The weights that were taken are those of a run's last checkpoint."""


def resolve_weights(name: str) -> str:
    """Return the directory of the weights of `name`: of an unfinished run its last checkpoint.

    Any other name is returned as it is. Raises InputError where such a run has none.
    """
    run = Path(name)
    record = _json(run / RUN)
    if record is None or record.get("finished") is not False:
        return name
    checkpoint = last_checkpoint(run)
    if checkpoint is not None and _has_weights(checkpoint):
        return str(checkpoint)
    if _has_weights(run):  # of an end before this run was made longer
        return name
    lacks = "no checkpoint yet" if checkpoint is None else "only parts of its weights, one a device"
    raise InputError(
        f"{name}: this run is not finished and has {lacks}: give the command that trains it again"
    )


def is_checkpoint_without_adapter(name: str) -> bool:
    """Return whether the weights of `name` are a checkpoint of a run without an adapter."""
    return (Path(resolve_weights(name)) / TRAINED).is_file()


def starting_model(name: str) -> str:
    """Return the model that a run without an adapter started from, where `name` is its checkpoint.

    Any other name is returned unchanged.
    """
    if not is_checkpoint_without_adapter(name):
        return name
    settings = (record_of(resolve_weights(name)) or {}).get("settings", {})
    return str(settings.get("model", name))


def resolve_and_warn(name: str) -> str:
    """Resolve `name` before its weights are read, with an UnfinishedRun that says which ones."""
    weights = resolve_weights(name)
    if weights != name:
        checkpoint = Path(weights)
        steps = (state_of(checkpoint) or {}).get("max_steps")
        text = (
            f"{name} is not finished: this is its last checkpoint, of step {step_of(checkpoint)} "
            f"of {steps}"
        )
        warnings.warn(text, UnfinishedRun, stacklevel=2)
    return weights


@contextmanager
def stable_adapter(run: str) -> Iterator[str]:
    """Yield the adapter of a run, or a copy while the run is in progress and may replace it."""
    adapter = resolve_and_warn(run)
    if adapter == run:
        yield run
        return
    with TemporaryDirectory() as place:
        for pattern in ("adapter_*", "vqa.json", "hints.json"):
            for file in Path(adapter).glob(pattern):
                shutil.copy(file, place)
        yield place


def record_of(checkpoint: str | Path) -> dict[str, Any] | None:
    """Read `run.json` of the run whose checkpoint this is; None for any other directory."""
    return _json(Path(checkpoint).parent / RUN) if (Path(checkpoint) / STATE).is_file() else None


def checkpoints(run: Path) -> list[Path]:
    """List all checkpoints of a run by step; a kill may have left some of them half written."""
    numbers = {path: path.name.removeprefix("checkpoint-") for path in run.glob("checkpoint-*")}
    ours = [path for path, number in numbers.items() if number.isdecimal()]  # not a user's copy
    return sorted(ours, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def state_of(checkpoint: Path) -> dict[str, Any] | None:
    """Read the state of the training loop at a checkpoint; None where that is not whole."""
    return _json(checkpoint / STATE)


def last_checkpoint(run: Path) -> Path | None:
    """Return the last checkpoint that was written whole; nothing is removed."""
    complete = (path for path in reversed(checkpoints(run)) if state_of(path) is not None)
    return next(complete, None)


def _has_weights(directory: Path) -> bool:
    return any((directory / name).is_file() for name in _WEIGHTS)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        return read_object(path, _STATE_BYTES) if path.is_file() else None
    except InputError:
        return None
