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

from vqa.errors import VQAError
from vqa.utils.stopping import stopping


def train(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or a shipped name: pretrain, finetune, fusion ...")
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
    with stopping("before anything was read"):
        from vqa.loading import quiet_loading

        quiet_loading()
        training_module("run").run(config, overrides or [], dry_run)


def training_module(name: str) -> ModuleType:
    """Import `training.NAME` of this project, whatever else is called training here.

    The library itself knows nothing of the package, which lies beside `vqa`.
    """
    root = Path(__file__).resolve().parents[2]
    package = sys.modules.get("training")
    if package is None or str(root / "training") not in map(str, package.__path__):
        spec = PathFinder.find_spec("training", [str(root)])
        if spec is None or spec.loader is None:
            raise VQAError(f"{root / 'training'} is missing: install vqa again")
        package = sys.modules["training"] = module_from_spec(spec)
        spec.loader.exec_module(package)
    return import_module(f"training.{name}")
