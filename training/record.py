"""What a run's directory says of itself: `run.json` while it runs, a card when it is done."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from accelerate import PartialState

from training.callbacks import best_kept
from training.resume import RUN, last_checkpoint, refuse_another
from training.rows import Prepared
from training.settings import RunSettings
from vqa.checkpoints import is_adapter
from vqa.errors import InputError
from vqa.files import atomic_write, read_jsonl
from vqa.version import __version__

CARD = "README.md"
_TAG = "tags: [visual-question-answering, vqa]"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "timm")
_SHOWN = 6  # questions on the card


def describe(settings: RunSettings, model: str, prepared: Prepared) -> dict[str, Any]:
    """What `run.json` holds: config as used, versions, state of the code, identity of model, data.

    `model` is the fingerprint of the weights that the run starts from.
    """
    return {
        "settings": settings.model_dump(mode="json"),
        "model_fingerprint": model,
        "data_fingerprint": prepared.data,
        "rows": prepared.examples,
        "pictures": prepared.pictures,
        "validation_rows": len(prepared.validation.examples) if prepared.validation else 0,
        "processes": PartialState().num_processes,
        "dtype": str(prepared.train.dtype).removeprefix("torch."),
        "versions": {"vqa": __version__, "python": platform.python_version()} | _versions(),
        "git": _git(),
        "finished": False,
    }


def begin(output: Path, described: dict[str, Any]) -> bool:
    """Write `run.json`; False where the same run has been finished here.

    Raises InputError where `output` holds another run.
    """
    old = refuse_another(output, described)
    longer = old is not None and old.get("finished") and not _finished(old, described)
    if longer and last_checkpoint(output) is None:
        raise InputError(
            f"output={output} holds a finished run without checkpoints, which cannot go on: give "
            "another output="
        )
    if not PartialState().is_main_process:
        PartialState().wait_for_everyone()  # until it is written
        return not _finished(old, described)
    if not _finished(old, described):
        output.mkdir(parents=True, exist_ok=True)
        _write(output, described)
    else:
        print(f"{output}: this run is finished; for more, raise epochs, max_steps or patience")
    PartialState().wait_for_everyone()
    return not _finished(old, described)


def end(
    output: Path,
    described: dict[str, Any],
    log: Sequence[dict[str, Any]],
    base: str,
    how: str,
    use: Sequence[str] | None = None,
) -> None:
    """Write the card, and into `run.json` that the run is finished.

    `base` names the model that it started from, `how` says what was trained of it, and `use` are
    commands that take it, where it does not answer questions.
    """
    if PartialState().is_main_process:
        path = output / CARD
        if not path.is_file() or _TAG in path.read_text(encoding="utf-8", errors="replace"):
            with atomic_write(path) as file:  # a README of the user's stays
                file.write(_card(output, described, log, base, how, use))
        _write(output, described | {"finished": True})


def _finished(old: Mapping[str, Any] | None, described: Mapping[str, Any]) -> bool:
    if old is None or not old.get("finished"):
        return False
    return _ends_by(old["settings"]) == _ends_by(described["settings"])


def _ends_by(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a run's length depends on."""
    patience = settings.get("validation", {}).get("patience")
    return settings.get("epochs"), settings.get("max_steps"), patience


def _write(output: Path, described: dict[str, Any]) -> None:
    with atomic_write(output / RUN) as file:
        file.write(json.dumps(described, indent=2, ensure_ascii=False) + "\n")


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, Any] | None:
    """Commit of the working directory, and whether files differ from it."""

    def ask(*command: str) -> str:
        done = subprocess.run(
            ["git", *command], capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _card(
    output: Path,
    described: dict[str, Any],
    log: Sequence[dict[str, Any]],
    base: str,
    how: str,
    use: Sequence[str] | None,
) -> str:
    answers = use is None
    if use is None:
        use = [f"vqa ask --model {output} PHOTO QUESTION"]
        use += [f"vqa merge {output} OUT    # a plain LLaVA directory"] * is_adapter(str(output))
    settings = described["settings"]
    steps = max((entry["step"] for entry in log), default=0)
    lines = [
        "---",
        f"base_model: {json.dumps(base)}",
        f"pipeline_tag: {'image-text-to-text' if answers else 'zero-shot-image-classification'}",
        _TAG,
        "---",
        "",
        f"# {output.name}",
        "",
        f"{base}, {how}, trained for {steps} steps ({_length(settings)}) on {described['rows']} "
        f"rows about {described['pictures']} pictures of `{Path(settings['data']).name}`.",
        "",
        "```bash",
        *use,
        "```",
        "",
    ]
    checked = [entry for entry in log if "eval_loss" in entry]
    kept = best_kept(checked, settings["validation"]["best_by"], output, last=steps)
    if kept is not None:
        lines += _measured(checked[0], kept, settings["validation"], described["validation_rows"])
        lines += _samples(output, checked[0]["step"], kept["step"])
    lines += ["`run.json` has the config, versions and data; `log.jsonl` every figure."]
    if (output / "curves.png").is_file():
        lines += ["", "![curves](curves.png)"]
    return "\n".join(lines) + "\n"


def _length(settings: Mapping[str, Any]) -> str:
    if settings["max_steps"] is not None:
        return f"max_steps {settings['max_steps']}"
    return f"{settings['epochs']:g} epoch{'' if settings['epochs'] == 1 else 's'}"


def _measured(
    first: dict[str, Any], kept: dict[str, Any], settings: dict[str, Any], rows: int
) -> list[str]:
    apart = settings["data"] or f"{100 * settings['share']:g} % of the pictures, kept from training"
    lines = [f"## Validation: {rows} rows of {apart}", "", "| | before | after |", "|---|---|---|"]
    lines.append(f"| loss | {first['eval_loss']:.3f} | {kept['eval_loss']:.3f} |")
    if "eval_metric" in kept:
        before, after = (100 * entry["eval_metric"] for entry in (first, kept))
        lines.append(f"| {settings['metric']}, % | {before:.1f} | {after:.1f} |")
    return [*lines, "", f"The weights are those of step {kept['step']}.", ""]


def _samples(output: Path, first: int, last: int) -> list[str]:
    """Some questions with their answers before and after."""

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
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return [*lines, ""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
