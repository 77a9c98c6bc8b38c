"""The curves of a run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqa.utils.files import atomic_write

_SMOOTH = 0.9  # most of the past in the drawn line of the training loss; less in short runs
_SHORT = 20  # entries


def draw(log: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw losses and, where answers were compared, their score over the steps, as PNG."""
    from matplotlib.figure import Figure

    trained = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
    checked = [(entry["step"], entry["eval_loss"]) for entry in log if "eval_loss" in entry]
    scored = [(entry["step"], entry["eval_metric"]) for entry in log if "eval_metric" in entry]
    if not trained:
        return
    figure = Figure(figsize=(10, 4) if scored else (6, 4), layout="constrained")
    left, *right = figure.subplots(1, 2 if scored else 1, squeeze=False)[0]
    steps, losses = zip(*trained, strict=True)
    left.plot(steps, losses, color="tab:blue", alpha=0.3, linewidth=1)
    left.plot(steps, _smoothed(losses), color="tab:blue", label="training")
    if checked:
        left.plot(*zip(*checked, strict=True), "o-", color="tab:orange", label="validation")
    left.set(xlabel="step", title="loss")
    left.legend()
    if scored:
        steps, values = zip(*scored, strict=True)
        right[0].plot(steps, [100 * value for value in values], "o-", color="tab:green")
        right[0].set(xlabel="step", title="validation answers, %")
        right[0].set_ylim(bottom=0)
    for axes in (left, *right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)


def _smoothed(values: Sequence[float]) -> list[float]:
    """Compute an exponential mean, corrected for its start."""
    mean, weight, smoothed = 0.0, 0.0, []
    past = min(_SMOOTH, len(values) / (len(values) + _SHORT))
    for value in values:
        mean = past * mean + (1 - past) * value
        weight = past * weight + (1 - past)
        smoothed.append(mean / weight)
    return smoothed
