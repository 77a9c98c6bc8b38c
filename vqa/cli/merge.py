"""`vqa merge` and `vqa average`: other weights from those of runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vqa.cli import options


def merge(
    run: Annotated[str, typer.Argument(help="A training run, or a directory with a peft adapter.")],
    out: Annotated[Path, typer.Argument(help="The LLaVA directory to write.")],
    dtype: Annotated[
        str, typer.Option(help="Type of the stored weights: auto (the base's), bfloat16, float32.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a plain LLaVA directory of a run, and measure that it answers like the run."""
    options.quiet_loading()
    from vqa.merging import merge as merged

    found = merged(run, out, dtype)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    typer.echo(f"{out}: {found.base} with {run} merged, stored in {found.dtype}")
    exact, stored = found.exact, found.stored
    typer.echo(
        f"merging in float32: logits differ by {exact.logits:.1e} at most, "
        f"{exact.same_answers} of {exact.questions} answers are the same"
    )
    than = f"trained on {found.quantize} weights" if found.quantize else "before, in float32"
    typer.echo(
        f"what is stored, beside the run as it was {than}: {stored.logits:.1e}, "
        f"{stored.same_answers} of {stored.questions} answers"
    )
    if found.quantize:
        typer.echo(
            "The adapter had learned on quantized weights and lies on full ones now: close, not "
            "equal."
        )


def average(
    runs: Annotated[list[str], typer.Argument(help="Training runs on the same model.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The adapter's directory to write.")],
) -> None:
    """Write the mean of runs that went on from each other, or from the same; used as a run is."""
    from vqa.averaging import average as averaged

    averaged(runs, out)
    typer.echo(f"{out}: the mean of {', '.join(runs)}")
