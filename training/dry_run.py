"""What a training would do, take and last, and what to change where it does not fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from training import memory
from training.features import FeatureCache, cache_directory, cached_tower
from training.loop import steps_of
from training.memory import Estimate
from training.planning import Planned
from training.report import print_report
from training.settings import TrainSettings
from training.validation import row_losses
from training.views import WHOLE
from vqa.cli.tables import duration
from vqa.encoders import patch_features
from vqa.images import load_image

_PICTURES = 4  # that are timed
_ROWS = 2


@dataclass(frozen=True)
class Outlook:
    """What is known of a run before it starts."""

    settings: dict[str, Any]  # as they are in effect
    rows: int
    pictures: int
    validation_rows: int
    packed_rows: int
    steps: int
    memory: Estimate
    available: int  # bytes
    advice: tuple[str, ...]  # changes under which it fits, where it does not
    hours: float | None  # None where no step could be tried
    views: int = 0  # that are looked at besides the whole pictures

    @property
    def fits(self) -> bool:
        """Whether the estimate is below what is free."""
        return self.memory.fits(self.available)


def outlook(
    settings: TrainSettings,
    planned: Planned,
    needed: Estimate,
    smaller: Iterable[tuple[str, Estimate]],
    device: torch.device,
    hours: Callable[[], float],
) -> Outlook:
    """Put together what is known; `hours` is called where the run fits, else `smaller` is told.

    `smaller` are changes of the settings, and what is needed under them.
    """
    free = memory.available(device)
    advice = [] if needed.fits(free) else [
        f"{change}: {_gigabytes(changed.total)}, "
        f"{'fits' if changed.fits(free) else 'does not fit alone'}"
        for change, changed in smaller
    ]  # fmt: skip
    return Outlook(
        settings=settings.model_dump(mode="json"),
        rows=len(planned.trained),
        pictures=len(planned.trained_pictures()),
        validation_rows=len(planned.measured),
        packed_rows=len(planned.rows),
        steps=steps_of(settings, len(planned.rows)),
        memory=needed,
        available=free,
        advice=tuple(advice),
        hours=hours() if needed.fits(free) else None,
        views=sum(view != WHOLE for _, view in planned.seen().values()),
    )


@dataclass(frozen=True)
class Pace:
    """How long parts of a run take on this machine, from a few that were tried."""

    seconds_a_token: float  # of a packed row that is trained on
    seconds_a_picture: float  # whose features are computed


def pace(
    trained: Any, llava: Any, processor: Any, paths: Sequence[str], settings: TrainSettings,
    pixels: bool,
) -> Pace:  # fmt: skip
    """Try some of the pictures `paths` and some steps."""
    frozen = paths and not pixels
    return Pace(
        _seconds_a_row(trained, llava, settings, pixels) / settings.row_tokens,
        seconds_a_picture(llava, processor, paths[:_PICTURES]) if frozen else 0.0,
    )


def hours_of(
    found: Pace, llava: Any, processor: Any, planned: Planned, settings: TrainSettings
) -> float:
    """How long all steps take at this pace, with the features that no run has left behind."""
    cache = FeatureCache(cache_directory(llava, processor))
    missing = [key for key in planned.seen() if key not in cache]
    seconds = len(planned.rows) * settings.row_tokens * found.seconds_a_token
    return (seconds + len(missing) * found.seconds_a_picture) / 3600


@torch.inference_mode()
def seconds_a_picture(llava: Any, processor: Any, paths: Sequence[str]) -> float:
    """How long the encoder takes for one of the pictures `paths`."""
    weight = next(llava.model.vision_tower.parameters())

    def encode() -> None:
        pictures = [load_image(Path(path)) for path in paths]
        pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
        patch_features(llava, pixels.to(weight.device, weight.dtype))

    return timed(encode) / len(paths)


def _seconds_a_row(trained: Any, llava: Any, settings: TrainSettings, pixels: bool) -> float:
    device, dtype = llava.device, llava.dtype
    row = {
        name: value.to(device)
        for name, value in memory.plain_row(llava, settings.row_tokens, dtype, pixels).items()
    }
    trained.train()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            losses, weights = row_losses(trained, row)
        (losses * weights).sum().backward()
        trained.zero_grad()

    if pixels:
        return timed(step)
    with cached_tower(llava):
        return timed(step)


def timed(what: Callable[[], None]) -> float:
    """Seconds of one call, the first not counted."""
    what()
    _finish()
    began = time.perf_counter()
    for _ in range(_ROWS):
        what()
    _finish()
    return (time.perf_counter() - began) / _ROWS


def _finish() -> None:
    """Wait for the accelerator, which is only told what to do."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def show(found: Outlook) -> None:
    """Print it for people."""
    console = Console()
    table = Table("setting", "value", title="config as it is in effect")
    for key, value in _flat(found.settings):
        table.add_row(key, str(value))
    console.print(table)
    print_report(found.memory.modules)
    console.print(
        f"{found.rows} rows about {found.pictures} pictures in {found.packed_rows} packed rows, "
        f"{found.validation_rows} rows for validation; {found.steps} steps",
        highlight=False,
    )
    if found.views:
        console.print(f"{found.views} other views of the pictures", highlight=False)
    parts = found.memory
    console.print(
        f"memory at its peak: about {_gigabytes(parts.total)} of {_gigabytes(found.available)} "
        f"free (weights {_gigabytes(parts.weights)}, what learns {_gigabytes(parts.trained)}, "
        f"activations {_gigabytes(parts.activations)}, program {_gigabytes(parts.program)})",
        highlight=False,
    )
    if found.hours is not None:
        console.print(
            f"about {duration(found.hours)} on this machine, validation not counted",
            highlight=False,
        )
    if not found.fits:
        console.print("it does not fit; try", highlight=False)
        for line in found.advice:
            console.print(f"  {line}", highlight=False)


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
