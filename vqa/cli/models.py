"""`vqa models`: what can be loaded here, fetching it, and what is in it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

models_app = typer.Typer(help="What can be loaded here; fetch the embedded model; look inside one.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@models_app.callback(invoke_without_command=True)
def default(context: typer.Context, as_json: AsJson = False) -> None:
    """List what can be loaded here."""
    if context.invoked_subcommand is None:
        list_models(as_json)


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the embedded model, the models and adapters in this directory, and the hub's cache."""
    from vqa.inventory import entries

    found = entries(Path.cwd())
    if as_json:
        _print_json({"models": [asdict(entry) for entry in found]})
        return
    table = _table("name", "kind", "state", "on disk", prose="state")
    for entry in found:
        table.add_row(entry.name, entry.kind, entry.state, _bytes(entry.bytes))
    _print(table)


@models_app.command()
def fetch(as_json: AsJson = False) -> None:
    """Fetch the parts of the embedded model (about 116 MB, once) and put it together."""
    from vqa import embedded, parts

    try:
        directories = [parts.part_directory("vision"), parts.part_directory("language")]
        if embedded.has_weights():
            directories.append(embedded.model_directory())
        parts.remove_leftovers()
    except KeyboardInterrupt:
        typer.echo("interrupted; `vqa models fetch` goes on from here", err=True)
        raise typer.Exit(130) from None
    if as_json:
        _print_json({"directories": [str(directory) for directory in directories]})
        return
    for directory in directories:
        typer.echo(directory)


@models_app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="DIR|embedded", help="What to look into.")],
    as_json: AsJson = False,
) -> None:
    """Show a model's parts, parameters, types, sizes and licence."""
    from vqa.description import describe

    found = describe(name)
    if as_json:
        _print_json(asdict(found))
        return
    columns = ("module", "kind", "parameters", "type", "size", "licence")
    table = _table(*columns, prose="kind")
    for row in found.modules:
        count = f"{row.parameters:,}" if row.parameters else ""
        table.add_row(row.name, row.kind, count, row.dtype, _bytes(row.bytes), row.licence or "")
    _print(table)
    facts = {
        "model": f"{found.name} ({found.kind})",
        "architecture": found.architecture,
        "parameters": f"{found.parameters:,}" if found.parameters else None,
        "directory": found.directory,
        "on disk": _bytes(found.bytes) if found.directory else None,
        "licence": found.licence or "not stated",
        "base": json.dumps(found.base) if found.base else None,
    }
    for key, value in facts.items():
        if value:
            typer.echo(f"{key}: {value}")


def _table(*columns: str, prose: str) -> Any:
    """A table for the terminal; only the column `prose` may break over lines."""
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


def _print(table: Any) -> None:
    from rich.console import Console

    Console(markup=False, highlight=False).print(table)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count else ""
