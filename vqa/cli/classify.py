"""`vqa classify`: which label fits a picture. `vqa score-caption`: how well a text does."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqa.cli import options
from vqa.errors import InputError

if TYPE_CHECKING:
    from vqa.alignment.classify import Classifier, Labelled

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def classify(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO", help="Pictures, or folders of pictures.")
    ],
    labels: Annotated[
        str,
        typer.Option(metavar="A,B,...", help="With commas between; `embedded` knows English ones."),
    ],
    model: options.SharedSpace = "embedded",
    top_k: Annotated[
        int, typer.Option(metavar="K", min=1, help="The best K labels of each picture.")
    ] = 5,
    as_json: AsJson = False,
    out: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Write a table with a line a picture.")
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Tell which of the labels fits each picture, without any training on them."""
    from vqa.alignment.classify import Classifier, check_labels
    from vqa.cli.progress import shown
    from vqa.cli.tables import counted, json_text, one_line

    names = check_labels(_split(labels))
    paths = _paths(photos)
    if out is not None:
        options.check_out("--out", out, paths)
    folder = any(photo.is_dir() for photo in photos)
    if folder and out is None and not as_json:
        raise InputError("a folder's labels go into a table: give --out FILE.csv, or --json")
    classifier = Classifier(options.load_dual_encoder(model, device), names)
    broken: list[str] = []
    found: list[tuple[Path, list[Labelled]]] = []
    try:
        with shown("classify") as tell:
            for row in _labelled(classifier, paths, top_k, broken, tell):
                found.append(row)
    except KeyboardInterrupt:
        if out is None or not found:
            raise
        _write(out, found)
        typer.echo(f"interrupted; {out} has {len(found)} of {len(paths)} pictures", err=True)
        raise typer.Exit(130) from None
    if len(broken) == len(paths) == 1:
        raise InputError(broken[0])
    for line in broken:
        typer.echo(f"vqa: {line}", err=True)
    if not found:
        raise InputError(f"none of {len(paths)} pictures can be opened")
    if out is not None:
        _write(out, found)
    if as_json:
        rows = [
            {"image": str(path), "labels": [vars(label) for label in best]} for path, best in found
        ]
        typer.echo(json_text(rows))
    elif out is None:
        for path, best in found:
            if len(paths) > 1:
                typer.echo(one_line(path))
            for label in best:
                typer.echo(f"{label.probability:6.1%}  {one_line(label.label)}")
    if broken or folder:
        counts = f"{counted(len(found), 'picture')}, {len(broken)} could not be opened"
        typer.echo(f"{out}: {counts}" if out else counts, err=True)


def score_caption(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A picture.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="In quotes; one or several.")],
    model: options.SharedSpace = "embedded",
    as_json: AsJson = False,
    device: options.Device = "auto",
) -> None:
    """Tell how well texts fit a picture: cosine similarity, and of several which is likeliest."""
    from vqa.cli.tables import json_text, one_line
    from vqa.images import load_image

    image = load_image(photo)  # what is wrong with it is said before the model is loaded
    encoder = options.load_dual_encoder(model, device)
    import torch

    from vqa.alignment.classify import similarities

    found = similarities(encoder, image, texts)  # [T]
    rows: list[dict[str, Any]] = [
        {"text": text, "similarity": value}
        for text, value in zip(texts, found.tolist(), strict=True)
    ]
    if len(texts) > 1:
        for row, value in zip(rows, torch.softmax(encoder.scale * found, 0).tolist(), strict=True):
            row["probability"] = value
    if as_json:
        typer.echo(json_text({"image": str(photo), "texts": rows}))
        return
    for row in rows:
        share = f"  {row['probability']:6.1%}" if "probability" in row else ""
        typer.echo(f"{row['similarity']:+.3f}{share}  {one_line(row['text'])}")


def _split(labels: str) -> list[str]:
    """The labels between commas, or one a line; quotes hold a comma that is part of one."""
    lines = [line for line in labels.splitlines() if line.strip()]
    try:
        return next(csv.reader([",".join(lines)], skipinitialspace=True), [])
    except csv.Error as error:
        raise InputError(f"--labels: {error}") from error


def _paths(photos: list[Path]) -> list[Path]:
    from vqa.alignment.search import pictures_in

    found: list[Path] = []
    for photo in photos:
        if not photo.exists():  # told before the model is loaded
            raise InputError(f"{photo}: no such file")
        found += pictures_in(photo) if photo.is_dir() else [photo]
    return found


def _labelled(
    classifier: Classifier, paths: list[Path], top_k: int, broken: list[str], tell: Any
) -> Iterator[tuple[Path, list[Labelled]]]:
    from vqa.alignment.search import opened

    done = 0
    for good, images in opened(paths, broken.append):
        for path, image in zip(good, images, strict=True):
            done += 1
            yield path, classifier.of(image, top_k)
            tell(done + len(broken), len(paths))
        images.clear()  # before the next ones are opened


def _write(out: Path, found: list[tuple[Path, list[Labelled]]]) -> None:
    from vqa.files import atomic_write

    most = max(len(best) for _, best in found)
    with atomic_write(out) as file:
        table = csv.writer(file, lineterminator="\n")
        places = range(1, most + 1)
        table.writerow(["image", *(f"{n}_{k}" for k in places for n in ("label", "probability"))])
        for path, best in found:
            cells = [cell for b in best for cell in (b.label, f"{b.probability:.4f}")]
            # a name that is no text must not cost the table
            name = str(path).encode(errors="backslashreplace").decode()
            table.writerow([name, *cells])
