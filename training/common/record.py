"""What a run's directory says of itself: `run.json` while it runs, a card when it is done."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from accelerate import PartialState

from training.common.best_weights import best_stored, validations_of
from training.common.recipe import ModelCard, PreparedRun, TrainPlan
from training.common.resume import refuse_another
from training.common.settings import RunSettings
from vqa.errors import InputError
from vqa.models.checkpoints import is_adapter
from vqa.models.runs import RUN, last_checkpoint
from vqa.utils.files import atomic_write, json_text, read_jsonl
from vqa.utils.inert import cell, code, fenced, markdown_line
from vqa.version import __version__

CARD = "README.md"
_TAG = "tags: [visual-question-answering, vqa]"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "timm")
_SHOWN = 6  # questions on the card


def describe(settings: RunSettings, plan: TrainPlan, prepared: PreparedRun) -> dict[str, Any]:
    """List what `run.json` holds: config, versions, state of the code, identity of model, data."""
    return {
        "settings": settings.model_dump(mode="json"),
        "model_fingerprint": prepared.model_fingerprint,
        "data_fingerprint": plan.data_fingerprint,
        "pictures_fingerprint": plan.pictures_fingerprint(),
        "rows": plan.size.rows,
        "pictures": plan.size.pictures,
        "sets": [asdict(one) for one in plan.sets()],
        "skipped": plan.skipped.described(),
        "validation_rows": plan.size.validation_rows,
        "processes": PartialState().num_processes,
        "dtype": str(prepared.train.dtype).removeprefix("torch."),
        "versions": {"vqa": __version__, "python": platform.python_version()} | _versions(),
        "git": _git(),
        "finished": False,
    }


def begin(output: Path, description: dict[str, Any]) -> bool:
    """Write `run.json`; False where the same run has been finished here.

    Raises InputError where `output` holds another run.
    """
    old = refuse_another(output, description)
    finished = _finished(old, description)
    longer = old is not None and old.get("finished") and not finished
    if longer and last_checkpoint(output) is None:
        raise InputError(
            f"output={output} holds a finished run without checkpoints, which cannot go on: give "
            "another output="
        )
    if PartialState().is_main_process:
        if finished:
            print(f"{output}: this run is finished; for more, raise epochs, max_steps or patience")
        else:
            output.mkdir(parents=True, exist_ok=True)
            _write(output, description)
    PartialState().wait_for_everyone()  # until it is written
    return not finished


def end(
    output: Path,
    description: dict[str, Any],
    log: Sequence[dict[str, Any]],
    card: ModelCard,
) -> None:
    """Write the card, and into `run.json` that the run is finished."""
    if PartialState().is_main_process:
        path = output / CARD
        if not path.is_file() or _TAG in path.read_text(encoding="utf-8", errors="replace"):
            with atomic_write(path) as file:  # a README of the user's stays
                file.write(_card_text(output, description, log, card))
        _write(output, description | {"finished": True})


def _finished(old: Mapping[str, Any] | None, description: Mapping[str, Any]) -> bool:
    if old is None or not old.get("finished"):
        return False
    return _ends_by(old["settings"]) == _ends_by(description["settings"])


def _ends_by(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """List what a run's length depends on."""
    patience = settings.get("validation", {}).get("patience")
    return settings.get("epochs"), settings.get("max_steps"), patience


def _write(output: Path, description: dict[str, Any]) -> None:
    with atomic_write(output / RUN) as file:
        file.write(json_text(description, indent=2) + "\n")


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _git() -> dict[str, Any] | None:
    """Return the commit of the working directory, and whether files differ from it."""

    def ask(*command: str) -> str:
        done = subprocess.run(
            ["git", *command], capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _card_text(
    output: Path, description: dict[str, Any], log: Sequence[dict[str, Any]], card: ModelCard
) -> str:
    base, commands = card.base, card.commands
    if commands is None:
        path = shlex.quote(str(output))
        commands = [f"vqa ask --model {path} PHOTO QUESTION"]
        commands += [f"vqa merge {path} OUT    # a plain model directory"] * is_adapter(str(output))
    settings = description["settings"]
    steps = max((entry["step"] for entry in log), default=0)
    lines = [
        "---",
        f"base_model: {json.dumps(base)}",
        f"pipeline_tag: {card.task}",
        _TAG,
        "---",
        "",
        f"# {markdown_line(output.name)}",
        "",
        f"{markdown_line(base)}, {card.trained}, trained for {steps} steps "
        f"({_length(settings)}) on {description['rows']} rows about {description['pictures']} "
        f"pictures of {code(Path(settings['data']).name)}.",
        "",
        *_skipped(description),
        *_sets(description["sets"]),
        *fenced(commands, "bash"),
        "",
    ]
    validations = validations_of(log)
    best = best_stored(validations, settings["validation"]["best_by"], output, last=steps)
    if best is not None:
        first, rows = validations[0], description["validation_rows"]
        lines += _measured(first, best, settings["validation"], rows)
        lines += _samples(output, first["step"], best["step"])
    lines += ["`run.json` has the config, versions and data; `log.jsonl` every figure."]
    if (output / "curves.png").is_file():
        lines += ["", "![curves](curves.png)"]
    return "\n".join(lines) + "\n"


def _skipped(description: Mapping[str, Any]) -> list[str]:
    rows = description["skipped"]["rows"]
    count = f"{rows} rows" if rows > 1 else "1 row"
    return [f"{count} could not be used and left out; `run.json` says why.", ""] if rows else []


def _sets(sets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tabulate how often each set's pictures were visited, where the rows name several sets."""
    if len(sets) < 2:
        return []
    lines = ["| set | pictures visited | visits of each | questions |", "|---|---|---|---|"]
    lines += [
        f"| {cell(one['name'] or '(no source)')} | {one['visited']} of {one['pictures']} "
        f"| {one['visits'] / max(1, one['visited']):.1f}, at most {one['most']} "
        f"| {one['questions']} |"
        for one in sets
    ]
    return [*lines, ""]


def _length(settings: Mapping[str, Any]) -> str:
    if settings["max_steps"] is not None:
        return f"max_steps {settings['max_steps']}"
    return f"{settings['epochs']:g} epoch{'' if settings['epochs'] == 1 else 's'}"


def _measured(
    first: dict[str, Any], best: dict[str, Any], settings: dict[str, Any], rows: int
) -> list[str]:
    share = f"{100 * settings['share']:g} % of the pictures, kept from training"
    apart = code(settings["data"]) if settings["data"] else share
    lines = [f"## Validation: {rows} rows of {apart}", "", "| | before | after |", "|---|---|---|"]
    lines.append(f"| loss | {first['eval_loss']:.3f} | {best['eval_loss']:.3f} |")
    if "eval_metric" in best:
        before, after = (100 * entry["eval_metric"] for entry in (first, best))
        lines.append(f"| {settings['metric']}, % | {before:.1f} | {after:.1f} |")
    return [*lines, "", f"The weights are those of step {best['step']}.", ""]


def _samples(output: Path, first: int, last: int) -> list[str]:
    """Tabulate some questions with their answers before and after."""

    def rows(step: int) -> list[dict[str, Any]]:
        path = output / "validation" / f"step-{step:06}.jsonl"
        if not path.is_file():
            return []
        return [row for _, row in read_jsonl(path)]

    pairs = list(zip(rows(first), rows(last), strict=False))
    if not pairs:
        return []
    pairs = pairs[:: max(1, -(-len(pairs) // _SHOWN))]  # rows about a picture stand together
    lines = ["| picture | question | in the data | before | after |", "|---|---|---|---|---|"]
    for before, after in pairs:
        cells = [
            ", ".join(Path(image).name for image in before["image"]),
            before["question"],
            before["answers"][0] if before["answers"] else "",
            before["prediction"],
            after["prediction"],
        ]
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return [*lines, ""]
