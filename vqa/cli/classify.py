"""`vqa classify`: which label fits a picture. `vqa score-caption`: how well a text does."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqa.cli import options, standard_input
from vqa.cli.output import print_json
from vqa.errors import InputError
from vqa.utils.stopping import exit_error

if TYPE_CHECKING:
    from vqa.alignment.classify import Classifier, LabelProbability

Named = Path | standard_input.Piped


def classify(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO", help="Pictures, or folders of pictures; - is standard input."
        ),
    ],
    labels: Annotated[
        str,
        typer.Option(metavar="A,B,...", help="With commas between; `embedded` knows English ones."),
    ],
    model: options.SharedSpace = "embedded",
    top_k: Annotated[
        int, typer.Option(metavar="K", min=1, help="The best K labels of each picture.")
    ] = 5,
    as_json: options.AsJson = False,
    out: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Write a table with a line a picture.")
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Tell which of the labels fits each picture, without any training on them."""
    from vqa.alignment.classify import Classifier, check_labels
    from vqa.utils.console import counted, one_line
    from vqa.utils.progress import progress_bar

    names = check_labels(_split(labels))
    paths = _paths(photos)
    if out is not None:
        options.check_out("--out", out, [path for path in paths if isinstance(path, Path)])
    folder = any(photo.is_dir() for photo in photos)
    if folder and out is None and not as_json:
        raise InputError("a folder's labels go into a table: give --out FILE.csv, or --json")
    classifier = Classifier(options.load_dual_encoder(model, device), names)
    broken: list[str] = []
    results: list[tuple[Named, list[LabelProbability]]] = []
    try:
        with progress_bar("classify") as tell:
            for row in _labelled(classifier, paths, top_k, broken, tell):
                results.append(row)
    except KeyboardInterrupt as stop:
        if out is None or not results:
            raise
        _write(out, results)
        raise exit_error(stop, f"({out} has {len(results)} of {len(paths)} pictures)") from None
    if len(broken) == len(paths) == 1:
        raise InputError(broken[0])
    for line in broken:
        typer.echo(f"vqa: {line}", err=True)
    if not results:
        raise InputError(f"none of {len(paths)} pictures can be opened")
    if out is not None:
        _write(out, results)
    if as_json:
        rows = [
            {"image": str(path), "labels": [vars(label) for label in best]}
            for path, best in results
        ]
        print_json(rows)
    elif out is None:
        for path, best in results:
            if len(paths) > 1:
                typer.echo(one_line(path))
            for label in best:
                typer.echo(f"{label.probability:6.1%}  {one_line(label.label)}")
    if broken or folder:
        counts = f"{counted(len(results), 'picture')}, {len(broken)} could not be opened"
        typer.echo(f"{out}: {counts}" if out else counts, err=True)


def score_caption(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A picture; - is standard input.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="In quotes; one or several.")],
    model: options.SharedSpace = "embedded",
    as_json: options.AsJson = False,
    device: options.Device = "auto",
) -> None:
    """Tell how well texts fit a picture: cosine similarity, and of several which is likeliest."""
    from vqa.alignment import check_length
    from vqa.inputs.images import load_image
    from vqa.utils.console import one_line

    for text in texts:
        check_length(text)
    image = load_image(standard_input.picture(photo))  # refused before the model is loaded
    encoder = options.load_dual_encoder(model, device)
    import torch

    from vqa.alignment.classify import similarities

    scores = similarities(encoder, image, texts)  # [T]
    rows: list[dict[str, Any]] = [
        {"text": text, "similarity": value}
        for text, value in zip(texts, scores.tolist(), strict=True)
    ]
    if len(texts) > 1:
        for row, value in zip(rows, torch.softmax(encoder.scale * scores, 0).tolist(), strict=True):
            row["probability"] = value
    if as_json:
        print_json({"image": str(photo), "texts": rows})
        return
    for row in rows:
        share = f"  {row['probability']:6.1%}" if "probability" in row else ""
        typer.echo(f"{row['similarity']:+.3f}{share}  {one_line(row['text'])}")


def _split(labels: str) -> list[str]:
    """Split labels at commas, or one a line; quotes hold a comma that is part of one."""
    lines = [line for line in labels.splitlines() if line.strip()]
    try:
        return next(csv.reader([",".join(lines)], skipinitialspace=True), [])
    except csv.Error as error:
        raise InputError(f"--labels: {error}") from error


def _paths(photos: list[Path]) -> list[Named]:
    from vqa.data.picture_files import list_pictures
    from vqa.utils.console import one_line

    paths: list[Named] = []
    for photo in standard_input.pictures(photos):
        if not isinstance(photo, Path):
            paths.append(photo)
            continue
        if not photo.exists():  # refused before the model is loaded
            raise InputError(f"{photo}: no such file")
        if not photo.is_dir():
            paths.append(photo)
            continue
        listing = list_pictures(photo)
        paths += listing.pictures
        left_out = listing.left_out()
        if left_out is not None:
            typer.echo(one_line(f"vqa: {left_out.line_about(photo)}", 500), err=True)
    return paths


def _labelled(
    classifier: Classifier, paths: list[Named], top_k: int, broken: list[str], tell: Any
) -> Iterator[tuple[Named, list[LabelProbability]]]:
    from vqa.alignment.search import load_batches

    done = 0
    for good, images in load_batches(paths, broken.append):
        for path, image in zip(good, images, strict=True):
            done += 1
            yield path, classifier.classify(image, top_k)
            tell(done + len(broken), len(paths))
        images.clear()  # before the next ones are opened


def _write(out: Path, results: list[tuple[Named, list[LabelProbability]]]) -> None:
    from vqa.utils.files import atomic_write
    from vqa.utils.inert import sheet_cell

    most = max(len(best) for _, best in results)
    with atomic_write(out) as file:
        table = csv.writer(file)  # its line end makes it quote a lone \r, too
        places = range(1, most + 1)
        table.writerow(["image", *(f"{n}_{k}" for k in places for n in ("label", "probability"))])
        for path, best in results:
            cells = [cell for b in best for cell in (sheet_cell(b.label), f"{b.probability:.4f}")]
            # a name that is no text must not cost the table
            name = str(path).encode(errors="backslashreplace").decode()
            table.writerow([sheet_cell(name), *cells])
