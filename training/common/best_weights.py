"""The weights that were best at validation, and when to stop for want of better ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from training.common.settings import ValidationSettings

_BEST = "best"  # best-STEP: the weights that were best at validation


def weights_path(output: Path, step: int) -> Path:
    """Name the directory of the weights that were best at the validation of `step`."""
    return output / f"{_BEST}-{step}"


def stored_weights(output: Path) -> dict[int, Path]:
    """List the directories of weights that were best at validation, by their step."""
    numbers = {path: path.name.removeprefix(f"{_BEST}-") for path in output.glob(f"{_BEST}-*")}
    return {int(number): path for path, number in numbers.items() if number.isdecimal()}


def validations_of(log: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """List the entries of a log that are validations."""
    return [entry for entry in log if "eval_loss" in entry]


def best_of(validations: Sequence[dict[str, Any]], by: str) -> dict[str, Any]:
    """Return the log entry of the best validation; of equal ones that of less loss, the first."""
    if by == "metric" and all("eval_metric" in entry for entry in validations):
        return max(validations, key=lambda entry: (entry["eval_metric"], -entry["eval_loss"]))
    return min(validations, key=lambda entry: float(entry["eval_loss"]))


def best_stored(
    log: Iterable[dict[str, Any]], by: str, output: Path, last: int | None = None
) -> dict[str, Any] | None:
    """Return the log entry of the best validation whose weights are there; None where none are.

    They are there if `output` has them, and at step `last`, after which the model has them itself.
    """
    stored = [
        entry
        for entry in validations_of(log)
        if entry["step"] == last or weights_path(output, entry["step"]).is_dir()
    ]
    return best_of(stored, by) if stored else None


def out_of_patience(validations: Sequence[dict[str, Any]], settings: ValidationSettings) -> bool:
    """Return whether as many validations as `patience` says have come since the best one."""
    if settings.patience is None or not validations:
        return False
    best = validations.index(best_of(validations, settings.best_by))
    return len(validations) - 1 - best >= settings.patience
