"""`vqa search`: index a folder of pictures, and find in it what a text says or what looks alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqa.cli import options
from vqa.errors import InputError

search_app = typer.Typer(
    help="Find pictures by what they show: index a folder once, then search in it.",
    no_args_is_help=True,
)


@search_app.command("index")
def index_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures, folders in it too.")],
    out: Annotated[Path, typer.Option(metavar="INDEX", help="The index, a directory.")],
    model: options.SharedSpace = "embedded",
    device: options.Device = "auto",
) -> None:
    """Index a folder, or bring its index up to date: what is unchanged is not encoded again."""
    from vqa.alignment.search import index_folder, pictures_in
    from vqa.cli.progress import shown
    from vqa.cli.tables import counted

    pictures_in(folder)  # a wrong folder is told before the model is loaded
    encoder = options.load_dual_encoder(model, device)
    try:
        with shown("index") as tell:
            done = index_folder(folder, out, encoder, tell)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    for line in done.broken:
        typer.echo(f"vqa: {line}", err=True)
    total = done.added + done.kept
    typer.echo(
        f"{out}: {counted(total, 'picture')} ({done.added} encoded, {done.kept} unchanged, "
        f"{done.removed} gone, {len(done.broken)} could not be opened)",
        err=True,
    )


@search_app.command("find")
def find_command(
    index: Annotated[Path, typer.Option(metavar="INDEX", help="What `vqa search index` made.")],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="What the pictures show, in quotes.")
    ] = None,
    like: Annotated[
        Path | None, typer.Option(metavar="PHOTO", help="Find what looks like this picture.")
    ] = None,
    top_k: Annotated[int, typer.Option(metavar="K", min=1, help="The best K pictures.")] = 10,
    model: options.SharedSpace = "embedded",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: options.Device = "auto",
) -> None:
    """Find the pictures that a text describes, or that look like another picture; best first."""
    if (text is None) == (like is None):
        raise InputError("say what to find: either a TEXT in quotes, or --like PHOTO")
    from vqa.alignment.index import PictureIndex
    from vqa.alignment.search import check_model, find, find_like
    from vqa.cli.tables import json_text, one_line
    from vqa.images import load_image

    pictures = PictureIndex.open(
        index
    )  # a wrong index or picture is told before the model is loaded
    image = load_image(like) if like is not None else None
    encoder = options.load_dual_encoder(model, device)
    check_model(pictures, encoder)
    if image is not None:
        hits = find_like(pictures, encoder, image, top_k)
    else:
        hits = find(pictures, encoder, text or "", top_k)
    if as_json:
        rows = [{"image": str(hit.image), "similarity": hit.similarity} for hit in hits]
        typer.echo(json_text(rows))
        return
    for hit in hits:
        typer.echo(f"{hit.similarity:+.3f}  {one_line(hit.image)}")
