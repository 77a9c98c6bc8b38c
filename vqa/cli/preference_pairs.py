"""`vqa data pairs`: wrong predictions beside accepted answers, to learn preferences from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqa.cli.options import Images
from vqa.cli.output import notices
from vqa.errors import InputError
from vqa.utils.console import counted


def pairs(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="What `vqa predict` wrote about the data.")
    ],
    data: Annotated[Path, typer.Option(help="The questions, with accepted answers.")],
    out: Annotated[Path, typer.Option(help="The JSONL file to write.")],
    images: Images = None,
    opposites: Annotated[
        bool,
        typer.Option(
            "--opposites",
            help="Also right answers of yes or no, against the other word: without them a model "
            "may learn only to say one of the two less.",
        ),
    ] = False,
) -> None:
    """Write each wrong prediction beside an accepted answer, for `vqa train preference`."""
    from vqa.data.convert import copy_pictures, with_names
    from vqa.data.formats import flat_json
    from vqa.data.reading import default_root, read
    from vqa.evaluation.predictions import read_predictions
    from vqa.evaluation.preference_pairs import wrong_answers

    root = images or default_root(data)
    rows = list(read(data, images, notice=notices(data)))
    wrong = list(wrong_answers(rows, read_predictions(predictions, rows), opposites))
    if not wrong:
        raise InputError(f"{predictions}: no answer about {data} is wrong: nothing is preferred")
    named = (with_names(row, root, out, inside=False) for row in wrong)
    flat_json.write(out, copy_pictures(named, root, out))
    typer.echo(f"{out}: {counted(len(wrong), 'pair')} of {counted(len(rows), 'row')}")
    typer.echo(f"train with: vqa train preference data={out} images={root}")
