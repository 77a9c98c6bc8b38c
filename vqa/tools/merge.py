"""Merge a run's adapter into the weights of its base, and measure what that changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqa.answering import Request
from vqa.errors import InputError
from vqa.models import checkpoints
from vqa.models.checkpoints import LoadedModel
from vqa.models.devices import dtype_named
from vqa.models.finite import check_weights
from vqa.models.image_text import load_any, save_any, stored_type
from vqa.models.runs import stable_adapter
from vqa.models.weights import Quantize
from vqa.tools.continuations import (
    Continuation,
    Difference,
    continue_requests,
    difference,
    requests_of,
)
from vqa.utils.files import atomic_directory


@dataclass(frozen=True)
class MergeReport:
    """What `merge` did: `exact` is the merging itself in float32, `stored` what was written."""

    base: str
    dtype: str
    quantize: Quantize | None  # how the base was quantized in training
    exact: Difference
    stored: Difference


def merge(run: str, out: str | Path, dtype: str = "auto") -> MergeReport:
    """Write the model that `run` (a directory with an adapter) makes of its base into `out`.

    The weights are merged in float32 and stored in `dtype`; `auto` is that of the base. Compared is
    the base with the adapter on top, before and after: the one it was trained on, quantized if it
    was so then, with the one in `out`. The questions are those of the run's validation while their
    pictures are there, else plain ones about made pictures.

    Raises InputError where `run` has no adapter, its base is not here, or `out` exists, and
    VQAError where weights or answers are not finite; nothing is written then.
    """
    if not checkpoints.is_adapter(run):
        raise InputError(f"{run}: no adapter here (adapter_config.json is missing)")
    base = checkpoints.base_of(run)
    quantize = _quantized(Path(run))
    requests = requests_of(run)
    stored = stored_type(base) if dtype == "auto" else dtype
    # one model at a time: they may be large
    with atomic_directory(out) as directory, stable_adapter(run) as adapter:
        trained = load_any(base, adapter=adapter, dtype="float32", merge=False)
        before = _measure(trained, requests)
        del trained
        exact = _write(base, adapter, stored, directory, before, requests)
        if quantize is not None:
            trained = load_any(base, adapter=adapter, dtype="float32", quantize=quantize)
            before = _measure(trained, requests)
            del trained
        after = _measure(load_any(str(directory), dtype=stored), requests)
    return MergeReport(base, stored, quantize, exact, difference(before, after))


def _write(
    base: str,
    run: str,
    dtype: str,
    directory: Path,
    before: Sequence[Continuation],
    requests: Sequence[Request],
) -> Difference:
    loaded = load_any(base, adapter=run, dtype="float32")
    exact = difference(before, _measure(loaded, requests))
    loaded.model.to(dtype_named(dtype))
    check_weights(loaded.model.named_parameters(), f"too large for {dtype}; give `dtype` float32")
    save_any(loaded, directory)
    return exact


def _measure(loaded: LoadedModel, requests: Sequence[Request]) -> list[Continuation]:
    check_weights(loaded.model.named_parameters(), "the run or its base is damaged")
    return continue_requests(loaded, requests)


def _quantized(run: Path) -> Quantize | None:
    path = run / "run.json"
    if not path.is_file():  # an adapter that others made
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        quantize: Quantize | None = settings.get("quantize")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read as the record of a run") from error
    return quantize
