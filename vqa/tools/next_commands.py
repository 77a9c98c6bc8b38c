"""The commands that go on from exported feedback: the page shows them, and the command line too."""

from __future__ import annotations

import shlex
from pathlib import Path

_FEW = 200  # rows to train on


def next_commands(
    out: Path, model: str, rows: int, compare: bool, recipe: str = "finetune"
) -> list[str]:
    """Write the commands that train the model on the feedback and compare the two.

    So few rows would be a handful of steps by the defaults: they are repeated, in smaller ones.
    """
    run = shlex.quote(f"runs/{out.resolve().name}")
    model = model or "embedded"
    chosen = "" if model == "embedded" else f" {_start(model)}"
    train = shlex.quote(f"data={out / 'train.jsonl'}")
    often = " rows_per_step=1 epochs=10" if rows < _FEW else ""
    commands = [f"vqa train {recipe}{chosen} {train} output={run}{often}"]
    if compare:
        test = shlex.quote(str(out / "test.jsonl"))
        commands.append(f"vqa compare {shlex.quote(model)} {run} --data {test}")
    return commands


def _start(model: str) -> str:
    """Write the settings that start a training from a model; of an adapter, with its base."""
    if not (Path(model) / "adapter_config.json").is_file():
        return shlex.quote(f"model={model}")
    from vqa.models.checkpoints import base_of

    return shlex.join([f"model={base_of(model)}", f"adapter={model}"])
