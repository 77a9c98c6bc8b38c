"""`vqa search`: index a folder of pictures, and find in it what a text says or what looks alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqa.cli import options, standard_input
from vqa.cli.output import print_json
from vqa.errors import InputError
from vqa.utils.stopping import resumable

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
    from vqa.alignment.index import describe_saved
    from vqa.alignment.search import index_folder
    from vqa.data.picture_files import list_pictures
    from vqa.utils.console import counted, one_line
    from vqa.utils.progress import progress_bar

    list_pictures(folder)  # a wrong folder is refused before the model is loaded
    encoder = options.load_dual_encoder(model, device)
    with resumable(lambda: describe_saved(out)), progress_bar("index") as tell:
        done = index_folder(folder, out, encoder, tell)
    for line in done.broken:
        typer.echo(f"vqa: {line}", err=True)
    if done.left_out is not None:
        typer.echo(one_line(f"vqa: {done.left_out.line_about(folder)}", 500), err=True)
    total = done.added + done.unchanged
    typer.echo(
        f"{out}: {counted(total, 'picture')} ({done.added} encoded, {done.unchanged} unchanged, "
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
        Path | None,
        typer.Option(
            metavar="PHOTO", help="Find what looks like this picture; - is standard input."
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(metavar="K", min=1, help="The best K pictures.")] = 10,
    model: options.SharedSpace = "embedded",
    as_json: options.AsJson = False,
    device: options.Device = "auto",
) -> None:
    """Find the pictures that a text describes, or that look like another picture; best first."""
    if (text is None) == (like is None):
        raise InputError("say what to find: either a TEXT in quotes, or --like PHOTO")
    from vqa.alignment import check_length
    from vqa.alignment.index import PictureIndex
    from vqa.alignment.search import check_model, search_by_image, search_by_text
    from vqa.inputs.images import load_image
    from vqa.utils.console import one_line

    check_length(text or "")
    # a wrong index or picture is refused before the model is loaded
    pictures = PictureIndex.open(index)
    image = load_image(standard_input.picture(like)) if like is not None else None
    encoder = options.load_dual_encoder(model, device)
    check_model(pictures, encoder)
    if image is not None:
        hits = search_by_image(pictures, encoder, image, top_k)
    else:
        hits = search_by_text(pictures, encoder, text or "", top_k)
    if as_json:
        rows = [{"image": str(hit.image), "similarity": hit.similarity} for hit in hits]
        print_json(rows)
        return
    for hit in hits:
        typer.echo(f"{hit.similarity:+.3f}  {one_line(hit.image)}")
    if changed := sum(pictures.has_changed(hit.image) for hit in hits):
        line = f"vqa: {changed} of these files changed or went since they were indexed: index anew"
        typer.echo(line, err=True)
