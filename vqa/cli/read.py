"""`vqa read`: the text in pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqa.cli import standard_input
from vqa.cli.output import print_json
from vqa.utils.console import one_line

if TYPE_CHECKING:
    from vqa.reading import TextLine


def read(
    photos: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO", help="Pictures; - reads one from standard input."),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Each line with its place and confidence.")
    ] = False,
) -> None:
    """Read the text in pictures, in the order in which people read it."""
    from vqa.inputs.images import load_image
    from vqa.loading import text_reader
    from vqa.reading import reading_order

    reader = text_reader("always")
    assert reader is not None
    results: list[dict[str, Any]] = []
    for photo, source in zip(photos, standard_input.pictures(photos), strict=True):
        rows = reading_order(reader.read(load_image(source)))
        if as_json:
            lines = [_as_json(line, number) for number, row in enumerate(rows) for line in row]
            results.append({"image": photo, "lines": lines})
            continue
        if len(photos) > 1:
            typer.echo(f"{one_line(photo)}:")
        for row in rows:
            typer.echo("\t".join(one_line(line.text) for line in row))
        if not rows:
            typer.echo(f"vqa: {one_line(photo)}: no text was read", err=True)
    if as_json:
        print_json(results)


def _as_json(line: TextLine, row: int) -> dict[str, Any]:
    return {
        "text": line.text,
        "row": row,
        "confidence": round(line.confidence, 4),
        "corners": [[round(x, 1), round(y, 1)] for x, y in line.corners],
    }
