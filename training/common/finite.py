"""Losses, gradients and weights that are NaN or infinite end a training: it can only go nowhere."""

from __future__ import annotations

import math
from pathlib import Path

from torch import nn

from training.common.resume import checkpoint_line
from vqa.errors import VQAError
from vqa.models.finite import first_not_finite


def check_value(
    value: float, what: str, step: int, model: nn.Module, output: Path, change: str
) -> None:
    """Raise VQAError where `what` is not finite at `step`, with the last checkpoint and advice.

    `value` has to be the same in all processes, so that all of them end. `change` is what to set
    for another run, unless `model` is damaged.
    """
    if math.isfinite(value):
        return
    damaged = first_not_finite(model.named_parameters())
    if damaged is not None:
        advice = f"{damaged} is NaN or infinite: the model that the run begins with is damaged"
    else:
        advice = f"give {change}, and another output="
    raise _error(f"the {what} is not finite ({value})", step, output, advice)


def check_trained(step: int, model: nn.Module, output: Path, change: str) -> None:
    """Raise VQAError where a step has made a weight that learns NaN or infinite."""
    trained = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
    name = first_not_finite(trained)
    if name is not None:
        raise _error(f"{name} is not finite", step, output, f"give {change}, and another output=")


def _error(problem: str, step: int, output: Path, advice: str) -> VQAError:
    return VQAError(f"step {step}: {problem} ({checkpoint_line(output)}): {advice}")
