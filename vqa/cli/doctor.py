"""`vqa doctor`: what works on this machine, and what a model sees of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vqa.cli import options, standard_input
from vqa.cli.output import print_json
from vqa.errors import InputError
from vqa.utils.console import one_line


def doctor(
    photo: Annotated[
        str | None,
        typer.Argument(metavar="PHOTO", help="Tell what the model sees of this picture, too."),
    ] = None,
    view: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Write the picture as the vision encoder gets it."),
    ] = None,
    model: options.Model = "embedded",
    adapter: options.Adapter = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
    as_json: options.AsJson = False,
) -> None:
    """Tell versions, devices, memory, cache and disk, and try which ways to compute work."""
    if view is not None:
        if photo is None:
            raise InputError(f"--view {view}: name the picture of which it is the view")
        options.check_out("--view", view, [] if photo == "-" else [Path(photo)])
    from vqa.tools.machine import examine

    facts: dict[str, Any] = dict(examine(device))
    if photo is not None:
        from vqa.inputs.images import load_image
        from vqa.loading import quiet_loading
        from vqa.models import checkpoints
        from vqa.tools.picture_view import examine_picture

        (source,) = standard_input.pictures([photo])
        picture = load_image(source)
        options.announce(model)
        quiet_loading()
        loaded = checkpoints.load(
            model, adapter=adapter, device=device, dtype=dtype, quantize=quantize
        )
        facts["picture"] = examine_picture(loaded, picture, view)
    if as_json:
        print_json(facts)
        return
    for group, entries in facts.items():
        typer.echo(f"{group}:")
        for name, value in entries.items():
            typer.echo("  " + one_line(f"{name}: {value}", 500))
