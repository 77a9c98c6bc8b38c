"""`vqa merge` and `vqa average`: other weights from those of runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vqa.cli import options
from vqa.cli.output import print_json


def merge(
    run: Annotated[str, typer.Argument(help="A training run, or a directory with a peft adapter.")],
    out: Annotated[Path, typer.Argument(help="The model directory to write.")],
    dtype: Annotated[
        str, typer.Option(help="Type of the stored weights: auto (the base's), bfloat16, float32.")
    ] = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Write a plain model directory of a run, and measure that it answers like the run."""
    from vqa.loading import quiet_loading

    quiet_loading()
    from vqa.tools.merge import merge as merged

    difference = merged(run, out, dtype)
    if as_json:
        print_json(asdict(difference))
        return
    typer.echo(f"{out}: {difference.base} with {run} merged, stored in {difference.dtype}")
    exact, stored = difference.exact, difference.stored
    typer.echo(
        f"merging in float32: logits differ by {exact.logits:.1e} at most, "
        f"{exact.same_answers} of {exact.questions} answers are the same"
    )
    than = (
        f"trained on {difference.quantize} weights" if difference.quantize else "before, in float32"
    )
    typer.echo(
        f"what is stored, beside the run as it was {than}: {stored.logits:.1e}, "
        f"{stored.same_answers} of {stored.questions} answers"
    )
    if difference.quantize:
        typer.echo(
            "The adapter had learned on quantized weights and lies on full ones now: close, not "
            "equal."
        )


def average(
    runs: Annotated[list[str], typer.Argument(help="Training runs on the same model.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The adapter's directory to write.")],
) -> None:
    """Write the mean of runs that went on from each other, or from the same; used as a run is."""
    from vqa.tools.average import average as averaged

    averaged(runs, out)
    typer.echo(f"{out}: the mean of {', '.join(runs)}")
