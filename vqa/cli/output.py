"""Output that commands share: lines of failures and of notices about data, and JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vqa.errors import NotFiniteError, VQAError
from vqa.utils.console import one_line
from vqa.utils.files import json_text, without_nan

if TYPE_CHECKING:
    from vqa.data.row_reader import Notice

_LONGEST = 500  # characters
_printed: set[str] = set()  # by this command, of which others may be a part
_PARAMETER = re.compile("`([a-z_]+)`")
_OPTIONS = {
    name: f"--{name.replace('_', '-')}"
    for name in (
        "adapter", "api_keys", "base_url", "device", "dtype", "engine", "format", "history",
        "images", "length_penalty", "model", "name", "names", "num_beams", "out", "quantize",
        "ray_address", "shard", "swap", "temperature", "to", "workers",
    )
} | {"by": "--explain-by"}  # fmt: skip


def message_of(error: VQAError) -> str:
    """Return the message with the parameters that it names as options of the command line."""
    message = str(error)
    if isinstance(error, NotFiniteError):
        message = message.replace("; try float32", "; try --dtype float32")
    return _PARAMETER.sub(lambda match: _OPTIONS.get(match[1], match[0]), message)


def print_json(value: object) -> None:
    """Print one JSON value; a share of nothing, which JSON has no number for, is null."""
    typer.echo(json_text(without_nan(value), indent=2))


def notices(path: Path) -> Callable[[Notice], None]:
    """Return a function that prints a notice about `path` as a whole, once a command."""

    def show(notice: Notice) -> None:
        line = one_line(f"vqa: {notice.line_about(path)}", _LONGEST)
        if line not in _printed:
            _printed.add(line)
            typer.echo(line, err=True)

    return show


def forget() -> None:
    """Begin another command."""
    _printed.clear()
