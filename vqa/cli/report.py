"""`vqa report`: scores, slices, calibration and errors with pictures in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqa.cli import options
from vqa.cli.score import By, Draws, MetricName, Profile, scored_rows
from vqa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqa.data.example import Example
    from vqa.evaluation.picture_conditions import Condition
    from vqa.evaluation.report.report_data import ModelPredictions


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
    images: options.Images = None,
    blind: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Predictions with --blind, in the models' order."),
    ] = None,
    swap: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Predictions with --swap, in the models' order."),
    ] = None,
    by: By = None,
    draws: Draws = 2000,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("report.html"),
) -> None:
    """Write one HTML page that opens offline: scores, calibration, and errors with pictures."""
    from vqa.data.reading import default_root
    from vqa.evaluation.report.html_page import write_report
    from vqa.evaluation.report.report_data import build_report
    from vqa.metrics import get_metric

    _check(data, predictions, name or [], blind or [], swap or [], images, out)
    chosen_metric = get_metric(metric, profile)
    examples = scored_rows(data, images, [*predictions, *(blind or []), *(swap or [])])
    models = _models(examples, predictions, name, blind or [], swap or [])
    contents = build_report(
        examples,
        models,
        chosen_metric,
        data=data.name,
        images=images if images is not None else default_root(data),
        profile=profile,
        by=by,
        draws=draws,
        notes=_notes(data, predictions, blind or [], swap or [], models),
    )
    write_report(out, contents)
    errors = contents.gallery.card_count
    typer.echo(f"{out}: {len(models)} model{'s' * (len(models) > 1)}, {errors} errors shown")


def _check(
    data: Path,
    predictions: list[Path],
    names: list[str],
    blind: list[Path],
    swap: list[Path],
    images: Path | None,
    out: Path,
) -> None:
    from vqa.evaluation.run_description import check_condition

    if names and len(names) != len(predictions):
        raise InputError(
            f"--name is given {len(names)} times for {len(predictions)} --predictions: "
            "give one for each"
        )
    conditions: list[tuple[Condition, list[Path]]] = [("blind", blind), ("swap", swap)]
    for condition, files in conditions:
        if len(files) > len(predictions):
            raise InputError(f"--{condition} is given more often than --predictions")
        for file in files:
            check_condition(file, condition)
    if images is not None and not images.is_dir():
        raise InputError(f"{images}: no such directory of pictures")
    options.check_out("--out", out, (data, *predictions, *blind, *swap))


def _models(
    examples: Sequence[Example],
    predictions: list[Path],
    names: list[str] | None,
    blind: list[Path],
    swap: list[Path],
) -> list[ModelPredictions]:
    from vqa.evaluation.predictions import read_predictions
    from vqa.evaluation.report.report_data import ModelPredictions
    from vqa.evaluation.run_description import read_description

    runs = [read_description(path) for path in predictions]
    model_names = names or _names(predictions, runs)
    return [
        ModelPredictions(
            model_names[i],
            read_predictions(path, examples),
            read_predictions(blind[i], examples) if i < len(blind) else None,
            read_predictions(swap[i], examples) if i < len(swap) else None,
            runs[i],
        )
        for i, path in enumerate(predictions)
    ]


def _names(predictions: list[Path], runs: list[dict[str, Any]]) -> list[str]:
    """Name the models by their runs, with the adapter where there is one; else by their files."""

    def of(run: dict[str, Any], path: Path) -> str:
        parts = [Path(str(run[key])).name for key in ("model", "adapter") if run.get(key)]
        return " + ".join(filter(None, parts)) or path.stem

    for names in (
        [of(run, path) for run, path in zip(runs, predictions, strict=True)],
        [path.stem for path in predictions],
    ):
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in predictions]


def _notes(
    data: Path,
    predictions: list[Path],
    blind: list[Path],
    swap: list[Path],
    models: list[ModelPredictions],
) -> list[str]:
    """List what a reader must know before believing a number."""
    from vqa.evaluation.picture_conditions import OWN_PICTURE
    from vqa.evaluation.run_description import description_differences

    notes = []
    for model in models:
        condition = model.run.get("condition", OWN_PICTURE)
        if condition != OWN_PICTURE:
            notes.append(f"{model.name} was predicted as “{condition}”, not with its own pictures.")
    for path in predictions[1:]:
        notes += description_differences(predictions[0], path, ("data", "condition"))
    for others in (blind, swap):
        for path, other in zip(predictions, others, strict=False):
            notes += description_differences(path, other, ("model", "adapter", "data"))
    return notes
