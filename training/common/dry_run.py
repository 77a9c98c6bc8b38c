"""What a training would do, take and last, and what to change where it does not fit."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from training.common import memory
from training.common.memory import gigabytes
from training.common.processes import device_of
from training.common.recipe import Recipe
from training.common.report import print_remarks, print_report, print_sets
from vqa.utils.console import duration


def dry_run(recipe: Recipe[Any, Any]) -> None:
    """Print what a run would do, take and last; nothing is written but caches of the data."""
    settings = recipe.settings
    plan = recipe.plan()
    needed = recipe.estimate(plan)
    free = memory.available(device_of(settings))
    fits = needed.fits(free)
    advice = () if fits else tuple(recipe.advice(plan, free))
    hours = recipe.seconds(plan) / 3600 if fits else None  # no step can be tried where it does not
    console = Console()
    table = Table("setting", "value", title="config as it is in effect")
    for key, value in _flat(settings.model_dump(mode="json")):
        table.add_row(key, str(value))
    console.print(table)
    print_report(needed.modules)
    print_sets(plan.sets())
    size, views = plan.size, plan.count_views()
    lines = [
        f"{size.rows} rows about {size.pictures} pictures in {size.packed_rows} packed rows, "
        f"{size.validation_rows} rows for validation; {recipe.steps(plan)} steps"
    ]
    if views:
        lines.append(f"{views} other views of the pictures")
    lines.append(
        f"memory at its peak: about {gigabytes(needed.total)} of {gigabytes(free)} free (weights "
        f"{gigabytes(needed.weights)}, what learns {gigabytes(needed.trained)}, activations "
        f"{gigabytes(needed.activations)}, program {gigabytes(needed.process_bytes)})"
    )
    if hours is not None:
        lines.append(f"about {duration(hours)} on this machine, validation not counted")
    if advice:
        lines += ["it does not fit; try", *(f"  {line}" for line in advice)]
    for line in lines:
        console.print(line, highlight=False)
    print_remarks(recipe.remarks(plan))


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """List nested settings by their dotted keys."""
    pairs: list[tuple[str, Any]] = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs
