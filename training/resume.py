"""Going on where a run stopped: which checkpoint is whole, and whether it is the same run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.settings import Augment
from vqa.errors import InputError

BEST = "best"  # best-STEP: the weights that were best at validation
RUN = "run.json"
# what may differ when a run goes on: it changes neither the rows nor what they teach
_FREE = frozenset(
    {
        "output", "data", "images", "fetch", "max_steps", "epochs", "device", "save_every",
        "keep_checkpoints", "log_every", "loggers", "gradient_checkpointing",
    }
)  # fmt: skip
# settings that earlier versions did not have, as they behaved
_EARLIER = {"augment": Augment().model_dump(mode="json")}
# of the validation: the rest decides which pictures are trained on and which weights are best
_FREE_OF_VALIDATION = frozenset({"data", "every", "patience"})


def last_checkpoint(output: Path) -> Path | None:
    """The last checkpoint that was written whole; what a kill has left half written is removed.

    The trainer's state is its last file.
    """
    numbers = {path: path.name.removeprefix("checkpoint-") for path in output.glob("checkpoint-*")}
    found = [path for path, number in numbers.items() if number.isdecimal()]  # not a user's copy
    found.sort(key=lambda path: int(numbers[path]))
    whole = None
    for path in found:
        if _is_json(path / "trainer_state.json"):
            whole = path
        else:
            shutil.rmtree(path, ignore_errors=True)
    return whole


def step_of(checkpoint: Path) -> int:
    """The step behind which a checkpoint was written."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def best_weights(output: Path) -> dict[int, Path]:
    """The directories of weights that were best at validation, by their step."""
    numbers = {path: path.name.removeprefix(f"{BEST}-") for path in output.glob(f"{BEST}-*")}
    return {int(number): path for path, number in numbers.items() if number.isdecimal()}


def refuse_another(output: Path, described: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `run.json` in `output` says of an earlier start of the run `described`, if there is one.

    Raises InputError where it is another run, told by its settings and by those fingerprints that
    `described` has. One that was not finished and has left no checkpoint counts for nothing.
    """
    path = output / RUN
    if not path.is_file():
        return None
    try:
        old: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        settings = dict(old["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: remove {output} or give another output=") from (
            error
        )
    if not old.get("finished") and last_checkpoint(output) is None:
        return None
    prints = [key for key in ("model_fingerprint", "data_fingerprint") if key in described]
    earlier = {key: value for key, value in _EARLIER.items() if key in described["settings"]}
    before = _fixed(earlier | settings) | {key: old.get(key) for key in prints}
    now = _fixed(described["settings"]) | {key: described[key] for key in prints}
    for key in before | now:
        if before.get(key) != now.get(key):
            raise InputError(
                f"output={output} holds a run with {key}={before.get(key)}, not {now.get(key)}: "
                "give another output=, or remove that directory"
            )
    return old


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that may not change, those of the validation by names of their own."""
    found = {key: value for key, value in settings.items() if key not in _FREE}
    validation = dict(found.pop("validation", None) or {})
    found["validation.data"] = validation.get("data") is not None  # its content is in the data's
    for key, value in validation.items():
        if key not in _FREE_OF_VALIDATION:
            found[f"validation.{key}"] = value
    return found


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
