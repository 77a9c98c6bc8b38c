"""`vqa export` and `vqa verify`: a model for other programs, and the proof that it is the same."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqa.cli import options
from vqa.cli.output import print_json

if TYPE_CHECKING:
    from vqa.tools.verification import Verification

Model = Annotated[str, typer.Argument(help="embedded, a model's or run's directory, or a hub id.")]
Questions = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Compare by the first 16 questions of this file of data."),
]


def export(
    model: Model,
    out: Annotated[Path, typer.Argument(help="The directory to write.")],
    format: Annotated[
        Literal["llava", "adapter"],
        typer.Option(help="A whole LLaVA directory, adapters merged; or a run's adapter alone."),
    ] = "llava",
    names: Annotated[
        Literal["hub", "new"],
        typer.Option(help="Of tensors: as on the hub; or as transformers 4.52 to 4.57 wrote."),
    ] = "hub",
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="Type of the stored weights; auto: as they were.")
    ] = "auto",
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read it back and compare weights, tokens and logits first."),
    ] = False,
    data: Questions = None,
    images: options.Images = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Write a model for other programs: transformers, peft, vLLM and engines like it."""
    from vqa.loading import quiet_loading

    quiet_loading()
    from vqa.tools.export import export as write
    from vqa.tools.verification import verify as compare
    from vqa.utils.files import atomic_directory

    verification = None
    with atomic_directory(out) as directory:
        write(model, directory, format, names, dtype)
        if verify:
            verification = compare(model, str(directory), data, images, device, shown=str(out))
    if as_json:
        print_json({"format": format, "verification": verification and asdict(verification)})
        return
    typer.echo(f"{out}: {model} as {format}")
    if verification is not None:
        _print(verification)


def verify(
    model: Model,
    target: Annotated[
        str,
        typer.Argument(help="What was exported of it, or a server's URL, as http://host:8000/v1."),
    ],
    data: Questions = None,
    images: options.Images = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the server calls the model.")
    ] = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Compare a model with its export, or with a server of it; exit code 1 where they differ."""
    from vqa.loading import quiet_loading

    quiet_loading()
    from vqa.tools.verification import verify as compare

    verification = compare(model, target, data, images, device, name)
    if as_json:
        print_json(asdict(verification))
    else:
        _print(verification)


def _print(verification: Verification) -> None:
    distance = (
        "the endpoint gives no probabilities to compare"
        if verification.measure is None
        else f"{verification.measure} differ by {verification.apart:.1e} at most "
        f"({verification.allowed:.0e} is allowed)"
    )
    typer.echo(
        f"{verification.questions} questions, {verification.tokens} tokens: all the same; "
        f"{distance}"
    )
