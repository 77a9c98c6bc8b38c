"""`vqa report`: scores, slices, calibration and errors with pictures in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqa.cli import options
from vqa.cli.score import Draws, MetricName, Profile
from vqa.cli.scored import scored_rows
from vqa.errors import InputError

if TYPE_CHECKING:
    from vqa.evaluation.report.build import Model


def report(
    data: options.DataFile,
    predictions: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE",
            help="What `vqa predict` wrote; again for each further model. The first is the base.",
        ),
    ],
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="What to call the predictions, in their order."),
    ] = None,
    metric: MetricName = "exact_match",
    profile: Profile = "official",
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Root of the pictures (default: the data's folder)."),
    ] = None,
    blind: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Predictions with --blind, in the models' order."),
    ] = None,
    swap: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Predictions with --swap, in the models' order."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="A score for each value of this column.")
    ] = None,
    draws: Draws = 2000,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("report.html"),
) -> None:
    """Write one HTML page that opens offline: scores, calibration, and errors with pictures."""
    from vqa.data.reading import default_root
    from vqa.evaluation.report.build import build
    from vqa.evaluation.report.page import write
    from vqa.metrics import metric as by_name

    _check(data, predictions, name or [], blind or [], swap or [], images, out)
    chosen = by_name(metric, profile)
    examples = scored_rows(data, images)
    models = _models(predictions, name, blind or [], swap or [])
    found = build(
        examples,
        models,
        chosen,
        data=data.name,
        images=images if images is not None else default_root(data),
        profile=profile,
        by=by,
        draws=draws,
        notes=_notes(data, predictions, blind or [], swap or [], models),
    )
    write(out, found)
    shown = found.gallery.shown
    typer.echo(f"{out}: {len(models)} model{'s' * (len(models) > 1)}, {shown} errors shown")


def _check(
    data: Path,
    predictions: list[Path],
    names: list[str],
    blind: list[Path],
    swap: list[Path],
    images: Path | None,
    out: Path,
) -> None:
    from vqa.evaluation.runs import check_condition

    if names and len(names) != len(predictions):
        raise InputError(
            f"--name is given {len(names)} times for {len(predictions)} --predictions: "
            "give one for each"
        )
    for option, files in (("blind", blind), ("swap", swap)):
        if len(files) > len(predictions):
            raise InputError(f"--{option} is given more often than --predictions")
        for file in files:
            check_condition(file, option)
    if images is not None and not images.is_dir():
        raise InputError(f"{images}: no such directory of pictures")
    options.check_out("--out", out, (data, *predictions, *blind, *swap))


def _models(
    predictions: list[Path], names: list[str] | None, blind: list[Path], swap: list[Path]
) -> list[Model]:
    from vqa.evaluation.report.build import Model
    from vqa.evaluation.runs import read_run
    from vqa.evaluation.score import read_predictions

    runs = [read_run(path) for path in predictions]
    given = names or _names(predictions, runs)
    return [
        Model(
            given[i],
            read_predictions(path),
            read_predictions(blind[i]) if i < len(blind) else None,
            read_predictions(swap[i]) if i < len(swap) else None,
            runs[i],
        )
        for i, path in enumerate(predictions)
    ]


def _names(predictions: list[Path], runs: list[dict[str, Any]]) -> list[str]:
    """The models by their runs, with the adapter where there is one; else the files by name."""

    def of(run: dict[str, Any], path: Path) -> str:
        parts = [Path(str(run[key])).name for key in ("model", "adapter") if run.get(key)]
        return " + ".join(filter(None, parts)) or path.stem

    for found in (
        [of(run, path) for run, path in zip(runs, predictions, strict=True)],
        [path.stem for path in predictions],
    ):
        if len(set(found)) == len(found):
            return found
    return [str(path) for path in predictions]


def _notes(
    data: Path, predictions: list[Path], blind: list[Path], swap: list[Path], models: list[Model]
) -> list[str]:
    """What a reader must know before believing a number."""
    from vqa.evaluation.runs import disagreements

    notes = []
    for model in models:
        condition = model.run.get("condition", "seen")
        if condition != "seen":
            notes.append(f"{model.name} was predicted as “{condition}”, not with its own pictures.")
    for path in predictions[1:]:
        notes += disagreements(predictions[0], path, ("data", "condition"))
    for others in (blind, swap):
        for path, other in zip(predictions, others, strict=False):
            notes += disagreements(path, other, ("model", "adapter", "data"))
    return notes
