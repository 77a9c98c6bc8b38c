"""`vqa models`: what can be loaded here, fetching it, and what is in it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqa.cli import options
from vqa.cli.output import print_json
from vqa.utils.console import console
from vqa.utils.files import json_text
from vqa.utils.stopping import resumable

if TYPE_CHECKING:
    from rich.table import Table

models_app = typer.Typer(help="What can be loaded here; fetch the embedded model; look inside one.")


@models_app.callback(invoke_without_command=True)
def default(context: typer.Context, as_json: options.AsJson = False) -> None:
    """List what can be loaded here."""
    if context.invoked_subcommand is None:
        list_models(as_json)


@models_app.command("list")
def list_models(as_json: options.AsJson = False) -> None:
    """List the embedded model, the models and adapters in this directory, and the hub's cache."""
    from vqa.tools.inventory import list_models

    entries = list_models(Path.cwd())
    if as_json:
        print_json({"models": [asdict(entry) for entry in entries]})
        return
    table = _table("name", "kind", "state", "on disk", prose="state")
    for entry in entries:
        table.add_row(entry.name, entry.kind, entry.state, _bytes(entry.bytes))
    console().print(table)


@models_app.command()
def fetch(
    as_json: options.AsJson = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every byte of what is here already.")
    ] = False,
) -> None:
    """Fetch the parts of the embedded model (about 116 MB, once) and put it together.

    What is here already is checked, and repaired where it is damaged.
    """
    from vqa.models.bundled import embedded, parts

    depth: Literal["sample", "all"] = "all" if verify else "sample"
    with resumable("`vqa models fetch` goes on from here"):
        needed = parts.default_parts()
        chosen = [part for part in parts.PARTS if part in needed or parts.is_present(part)]
        directories = [
            parts.part_directory(part.kind, part.name, repair=True, depth=depth)
            for part in sorted(chosen, key=lambda part: part not in needed)
        ]
        if embedded.has_weights():
            directories.append(embedded.model_directory(depth))
        if os.path.lexists(embedded.base_path()):
            directories.append(embedded.base_directory(depth))
        parts.remove_leftovers()
    if verify:
        typer.echo(
            f"every byte of {len(directories)} directories was read: all are whole", err=True
        )
    if as_json:
        print_json({"directories": [str(directory) for directory in directories]})
        return
    for directory in directories:
        typer.echo(directory)


@models_app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="DIR|embedded", help="What to look into.")],
    as_json: options.AsJson = False,
) -> None:
    """Show a model's parts, parameters, types, sizes and licence."""
    from vqa.tools.describe import describe

    description = describe(name)
    if as_json:
        print_json(asdict(description))
        return
    columns = ("module", "kind", "parameters", "type", "size", "licence")
    table = _table(*columns, prose="kind")
    for row in description.modules:
        count = f"{row.parameters:,}" if row.parameters else ""
        table.add_row(row.name, row.kind, count, row.dtype, _bytes(row.bytes), row.licence or "")
    console().print(table)
    facts = {
        "model": f"{description.name} ({description.kind})",
        "architecture": description.architecture,
        "parameters": f"{description.parameters:,}" if description.parameters else None,
        "directory": description.directory,
        "on disk": _bytes(description.bytes) if description.directory else None,
        "licence": description.licence or "not stated",
        "base": json_text(description.base) if description.base else None,
    }
    for key, value in facts.items():
        if value:
            typer.echo(f"{key}: {value}")


def _table(*columns: str, prose: str) -> Table:
    """Make a table for the terminal; only the column `prose` may break over lines."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        right = column in ("parameters", "size", "on disk")
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=column != prose,
            overflow="fold",
        )
    return table


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count else ""
