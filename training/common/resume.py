"""Going on where a run stopped: which checkpoint is whole, and whether it is the same run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.common.settings import AugmentSettings
from training.common.skipped import check_same
from vqa.errors import InputError
from vqa.models import runs
from vqa.models.runs import RUN, STATE

_PICTURES = "pictures_fingerprint"
# what may differ when a run goes on: it changes neither the rows nor what they teach
_FREE = frozenset(
    {
        "output", "data", "images", "fetch", "max_steps", "epochs", "device", "save_every",
        "save_minutes", "keep_checkpoints", "log_every", "loggers", "gradient_checkpointing",
    }
)  # fmt: skip
# settings that earlier versions did not have, as they behaved
_EARLIER = {
    "augment": AugmentSettings().model_dump(mode="json"), "skip_bad": False, "hints": None,
    "questions_per_visit": None, "torch_compile": False, "tiles": 1, "rows_at_once": 1,
}  # fmt: skip
# of the validation: the rest decides which pictures are trained on and which weights are best
_FREE_OF_VALIDATION = frozenset({"data", "every", "patience"})


def remove_partial_checkpoints(output: Path) -> None:
    """Remove the checkpoints that a kill left half written."""
    for path in runs.checkpoints(output):
        if runs.state_of(path) is None:
            shutil.rmtree(path, ignore_errors=True)


def checkpoint_line(output: Path) -> str:
    """Name the checkpoint that a run which has failed can go on from."""
    checkpoint = runs.last_checkpoint(output)
    return f"{checkpoint} is whole" if checkpoint else "no checkpoint is there yet"


def keep_last(output: Path, count: int) -> None:
    """Remove all checkpoints but the last `count`; by their steps, whatever the clock says."""
    for path in runs.checkpoints(output)[:-count]:
        (path / STATE).unlink(missing_ok=True)  # a kill must not leave a part that seems whole
        shutil.rmtree(path, ignore_errors=True)


def refuse_another(output: Path, description: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `run.json` in `output` says of an earlier start of the run `description`, if any.

    Raises InputError where it is another run by its settings, by those fingerprints that
    `description` has and by the rows that are left out. One that was not finished and has left no
    checkpoint counts for nothing.
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
    if not old.get("finished") and runs.last_checkpoint(output) is None:
        return None
    names = ("model_fingerprint", "data_fingerprint")
    fingerprint_keys = [key for key in names if key in description]
    earlier = {key: value for key, value in _EARLIER.items() if key in description["settings"]}
    before = _fixed(earlier | settings) | {key: old.get(key) for key in fingerprint_keys}
    now = _fixed(description["settings"]) | {key: description[key] for key in fingerprint_keys}
    for key in before | now:
        if before.get(key) != now.get(key):
            raise InputError(
                f"output={output} holds a run with {key}={before.get(key)}, not {now.get(key)}: "
                "give another output=, or remove that directory"
            )
    if "skipped" in description:
        check_same(old.get("skipped") or {}, description["skipped"], output)
    # not of runs that earlier versions began; a picture that broke has been named by now
    if {_PICTURES} <= old.keys() & description.keys() and old[_PICTURES] != description[_PICTURES]:
        raise InputError(
            f"output={output} holds a run with other pictures under these names: give another "
            "output=, or remove that directory"
        )
    return old


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """List the settings that may not change, those of the validation by names of their own."""
    fixed = {key: value for key, value in settings.items() if key not in _FREE}
    validation = dict(fixed.pop("validation", None) or {})
    fixed["validation.data"] = validation.get("data") is not None  # its content is in the data's
    for key, value in validation.items():
        if key not in _FREE_OF_VALIDATION:
            fixed[f"validation.{key}"] = value
    return fixed
