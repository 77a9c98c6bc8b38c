"""`vqa data`: make training data."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from vqa.errors import InputError

data_app = typer.Typer(help="Make training data.", no_args_is_help=True)


@data_app.callback()
def data() -> None:
    """Make training data."""


@data_app.command()
def build(
    config: Annotated[str, typer.Argument(help="A YAML file, or a shipped name: mix.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE...]", help="data_root=DIR out=DIR ...")
    ] = None,
) -> None:
    """Make a training mix and its validation rows from public data sets."""
    from vqa.config import load_config
    from vqa.data.mix import MixSettings, build, write
    from vqa.data.sets import SETS

    settings = load_config(MixSettings, config, overrides or [])
    if settings.data_root is None:
        for source in settings.sets:
            typer.echo(f"{source}: {SETS[source].origin}", err=True)
    elif settings.out is None:
        raise InputError("out=DIR is missing: where train.jsonl and val/ go")
    mix = build(settings)
    assert settings.out is not None
    write(mix, settings.out)
    tasks = Counter(row["task"] for row in mix.train)
    pictures = len({row["image"] for row in mix.train})
    typer.echo(f"{settings.out}/train.jsonl: {len(mix.train)} rows about {pictures} pictures")
    typer.echo("  " + ", ".join(f"{task} {count}" for task, count in tasks.most_common()))
    for name, rows in sorted(mix.validation.items()):
        typer.echo(f"{settings.out}/val/{name}.jsonl: {len(rows)} rows")
    typer.echo(f"train with data={settings.out}/train.jsonl images={settings.data_root}")
