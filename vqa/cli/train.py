"""`vqa train`: start a training from its config."""

from __future__ import annotations

from typing import Annotated

import typer

from vqa.cli import options
from vqa.cli.own_training import own_training


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
    options.quiet_loading()
    own_training("run").run(config, overrides or [], dry_run)
