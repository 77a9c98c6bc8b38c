"""The rows of a data file that predictions are scored against."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from vqa.data.example import Example


def scored_rows(data: Path, images: Path | None = None) -> list[Example]:
    """The good rows; the others are told on stderr and left out: nothing says what is right there.

    Raises BadRows where no row is good. Pictures are not opened.
    """
    from vqa.data import read
    from vqa.data.rows import BadRow, BadRows

    bad: list[BadRow] = []
    rows = list(read(data, images, need_images=False, bad=bad.append))
    if bad and not rows:
        raise BadRows(data, [(row.line, row.reason) for row in bad])
    for row in bad:
        typer.echo(f"vqa: {data}:{row.line}: left out: {row.reason}", err=True)
    return rows
