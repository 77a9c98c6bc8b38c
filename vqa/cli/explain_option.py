"""`--explain`: where the model looked, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vqa.cli import options
from vqa.errors import InputError
from vqa.utils.progress import progress_bar

if TYPE_CHECKING:
    from vqa.answering import Answer, Answerer, Request

Explain = Annotated[
    Path | None,
    typer.Option(metavar="OUT.png", help="Also write a picture of where the model looked."),
]
ExplainBy = Annotated[
    Literal["attention", "occlusion"],
    typer.Option(help="Seconds, or a minute: from the model's inside, or by covering parts."),
]


def check(out: Path | None, by: Literal["attention", "occlusion"], photos: Sequence[Path]) -> None:
    """Raise InputError for options that do not fit, before anything is loaded."""
    if out is None:
        if by != "attention":
            raise InputError("--explain-by says how, --explain where to: add --explain OUT.png.")
        return
    if out.suffix.lower() != ".png":
        raise InputError(f"--explain {out}: the picture is a PNG, so name it {out.stem}.png.")
    options.check_out("--explain", out, photos)


def write(
    out: Path, by: Literal["attention", "occlusion"], answerer: Answerer, request: Request,
    answer: Answer, question: str,
) -> dict[str, Any]:  # fmt: skip
    """Write the picture, warn on stderr where it explains nothing; return what JSON has of it."""
    from vqa.explain import explain
    from vqa.explain.figure import write_figure

    if not answer.text.strip():
        warning = "the answer is empty: there is nothing to explain"
        typer.echo(f"vqa: {warning}", err=True)
        return {"path": None, "by": by, "warning": warning}
    with progress_bar("explaining", "looks") as tell:
        explanation = explain(answerer, request, answer.text, by=by, progress=tell)
    pictures = request.images
    write_figure(out, explanation, pictures, question)
    if explanation.warning:
        typer.echo(f"vqa: {out}: {explanation.warning}", err=True)
    return {
        "path": str(out),
        "by": by,
        **(asdict(explanation.scores) if explanation.scores else {}),
        "warning": explanation.warning,
    }
