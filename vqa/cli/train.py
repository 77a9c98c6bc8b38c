"""`vqa train`: start a training from its config."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from vqa.cli import options
from vqa.errors import VQAError


def train(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or a shipped name: pretrain, finetune, embedded.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="data=FILE output=DIR lora.rank=8 ..."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only tell what it would do, the memory and the time."),
    ] = False,
) -> None:
    """Train a model as a config says; started again, a run goes on where it stopped."""
    _training()
    options.quiet_loading()
    import_module("training.run").run(config, overrides or [], dry_run)


def _training() -> ModuleType:
    """The package `training` that lies beside `vqa`, whatever else has that name here."""
    root = Path(__file__).resolve().parents[2]
    known = sys.modules.get("training")
    if known is not None and str(root / "training") in map(str, known.__path__):
        return known
    spec = PathFinder.find_spec("training", [str(root)])
    if spec is None or spec.loader is None:
        raise VQAError(f"{root / 'training'} is missing: install vqa again")
    module = sys.modules["training"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
