"""`vqa score`: how good the answers to a file of questions are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqa.cli import options
from vqa.cli.output import notices, print_json
from vqa.errors import InputError
from vqa.utils.console import console, counted, first_few, one_line, table
from vqa.utils.files import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqa.data.example import Example
    from vqa.data.row_reader import Notice
    from vqa.evaluation.picture_conditions import Condition
    from vqa.evaluation.predictions import Prediction, RowId
    from vqa.evaluation.scoring import MetricResult
    from vqa.metrics.metric import Metric

PredictionsFile = Annotated[Path, typer.Option(metavar="FILE", help="What `vqa predict` wrote.")]
MetricName = Annotated[
    str, typer.Option(metavar="NAME", help="exact_match, vqa_accuracy, pope, bleu and others.")
]
Profile = Annotated[
    str, typer.Option(metavar="NAME", help="Whose rules: official, lmms-eval or vlmevalkit.")
]
_ROUGH = 20  # pictures; intervals of fewer are too narrow
By = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="A score for each value of this column.")
]
Draws = Annotated[
    int, typer.Option(metavar="N", min=100, help="Draws of pictures for the intervals.")
]


def score(
    data: options.DataFile,
    predictions: PredictionsFile,
    metric: MetricName = "exact_match",
    profile: Profile = "official",
    rows: Annotated[bool, typer.Option("--rows", help="The score of every row, too.")] = False,
    by: By = None,
    blind: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `vqa predict --blind` wrote.")
    ] = None,
    swap: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `vqa predict --swap` wrote.")
    ] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="ROW", help="Show how the row of this id is scored.")
    ] = None,
    draws: Draws = 2000,
    as_json: options.AsJson = False,
) -> None:
    """Score predictions beside what is reached without seeing; pictures are not opened."""
    from vqa.evaluation.predictions import read_predictions
    from vqa.evaluation.run_description import check_condition, description_differences
    from vqa.evaluation.scoring import score as run
    from vqa.metrics import get_metric

    chosen_metric = get_metric(metric, profile)
    files = (predictions, blind, swap)
    examples = scored_rows(data, predictions=[path for path in files if path is not None])
    answers = read_predictions(predictions, examples)
    if explain is not None:
        _explain(examples, _row(examples, explain, data), answers, chosen_metric, as_json)
        return
    others: list[tuple[Path | None, Condition]] = [(blind, "blind"), (swap, "swap")]
    for path, condition in others:
        if path is not None:
            check_condition(path, condition)
            for line in description_differences(predictions, path, ("model", "adapter", "data")):
                typer.echo(f"vqa: warning: {line}", err=True)
    result = run(
        examples,
        answers,
        chosen_metric,
        blind=read_predictions(blind, examples) if blind else None,
        swap=read_predictions(swap, examples) if swap else None,
        by=by,
        draws=draws,
    )
    if as_json:
        print_json(result.to_json(rows) | {"profile": profile})
    else:
        _print(result, profile, rows, by)


def scored_rows(
    data: Path, images: Path | None = None, predictions: Sequence[Path] = ()
) -> list[Example]:
    """Read the good rows, which predictions are scored against; bad ones are printed on stderr.

    Raises BadRows where no row is good, and InputError where ids come again and `predictions` are
    of other data: an id may mean another row there. Pictures are not opened.
    """
    from vqa.data import read
    from vqa.data.row_reader import BadRow, BadRows
    from vqa.data.unique_ids import RepeatedIds
    from vqa.evaluation.run_description import check_data

    bad: list[BadRow] = []

    def notify(notice: Notice) -> None:
        notices(data)(notice)
        if isinstance(notice, RepeatedIds):
            check_data(predictions, data)

    rows = list(read(data, images, need_images=False, bad=bad.append, notice=notify))
    if bad and not rows:
        raise BadRows(data, [(row.line, row.reason) for row in bad])
    for row in bad:
        typer.echo(f"vqa: {data}:{row.line}: left out: {row.reason}", err=True)
    return rows


def _row(examples: list[Example], text: str, data: Path) -> Example:
    """Return the row of that id, written as JSON or as text."""
    by_id = {example.id: example for example in examples}
    for key in options.ids_of(text):
        if key in by_id:
            return by_id[key]
    raise InputError(f"{data} has no row with the id {text!r}")


def _explain(
    rows: list[Example],
    row: Example,
    predictions: dict[RowId, Prediction],
    metric: Metric,
    as_json: bool,
) -> None:
    from vqa.evaluation.scoring import check_ids, metric_items, prediction_texts

    check_ids(rows, predictions)
    prediction = predictions.get(row.id)
    # of all rows: a row's score may depend on the others
    items = metric_items(rows, prediction_texts(rows, predictions))
    steps = metric.explain(items[rows.index(row)])
    row_score = float(metric.rows(items)[rows.index(row)])
    if as_json:
        print_json({
            "id": row.id, "question": row.question, "answers": row.answers,
            "prediction": prediction.text if prediction else None,
            "error": prediction.error if prediction else None,
            "metric": metric.name, "score": row_score, "steps": steps,
        })  # fmt: skip
        return
    text = "none"
    if prediction and prediction.text is not None:
        text = one_line(repr(prediction.text), 2000)
    if prediction and prediction.error is not None:
        text += f" (failed: {one_line(prediction.error)})"
    for name, value in (
        ("row", one_line(json_text(row.id), 2000)),
        ("question", one_line(row.question, 2000)),
        ("answers", one_line(", ".join(map(repr, row.answers)), 2000)),
        ("prediction", text),
    ):
        typer.echo(f"{name}: {value}")
    typer.echo(f"{metric.name}: {row_score:.4g}")
    for step in steps:
        typer.echo(f"    {one_line(step, 2000)}")


def _print(result: MetricResult, profile: str, rows: bool, by: str | None) -> None:
    from vqa.evaluation.number_text import BASELINES, format_interval, format_value

    out = console()
    if rows:
        for key, value in result.rows:
            typer.echo(f"{value:6.3f}  {one_line(json_text(key), 2000)}")
    rules = "" if profile == "official" else f" (rules of {profile})"
    out.print(
        f"{result.metric}{rules} over {counted(result.count, 'row')}"
        f" of {counted(result.pictures, 'picture')}"
    )
    names = list(result.values)
    values = table(["", *names], names)
    values.add_row("the predictions", *(format_value(name, result.values[name]) for name in names))
    if result.intervals:
        values.add_row(
            "95 % interval", *(format_interval(n, result.intervals.get(n)) for n in names)
        )
    for baseline, reached in result.baselines.items():
        label = BASELINES[baseline]
        if baseline == "commonest":
            label += f" ({one_line(repr(result.commonest_answer), 40)})"
        values.add_row(label, *(format_value(name, reached[name]) for name in names))
    out.print(values)
    out.print(result.gain.sentence, soft_wrap=True)
    interval = result.intervals.get(result.main)
    if interval is None:
        out.print("No interval: the rows share one picture.")
    elif interval[0] == interval[1]:
        out.print("All pictures score alike: the interval cannot tell how sure the score is.")
    elif result.pictures < _ROUGH:
        out.print(f"Intervals from {result.pictures} pictures are rough.")
    if by:
        _print_slices(result, by)
    _print_calibration(result)
    for name, count in result.incomplete.items():
        out.print(
            f"{BASELINES[name]} has no answer to {counted(count, 'row')} of the predictions: what "
            "seeing is worth is not measured beside it".capitalize(),
            soft_wrap=True,
        )
    for what, keys in (
        ("without a prediction, counted as an empty answer", result.missing),
        ("failed, counted as an empty answer", result.errors),
        ("predicted but not in the data, left out", result.unknown),
    ):
        if keys:
            out.print(f"{counted(len(keys), 'row')} {what}: {first_few(keys)}", soft_wrap=True)


def _print_slices(result: MetricResult, by: str) -> None:
    from vqa.evaluation.number_text import format_interval, format_value

    slices = table([one_line(by, 40), "rows", result.main, "95 %"], ["rows", result.main, "95 %"])
    for name, part in result.slices.items():
        value = format_value(result.main, part.value)
        interval = format_interval(result.main, part.interval)
        slices.add_row(one_line(name, 60), str(part.count), value, interval)
    console().print(slices)


def _print_calibration(result: MetricResult) -> None:
    from vqa.evaluation.number_text import format_value

    probabilities = result.calibration
    if probabilities is None:
        return

    def share(value: float) -> str:
        return format_value("score", value)

    lines = [
        f"Answers are {share(probabilities.mean_probability)} sure on average and score "
        f"{share(probabilities.mean_score)}; expected calibration error "
        f"{share(probabilities.expected_calibration_error)}."
    ]
    if probabilities.threshold is None:
        lines.append("At no probability is an answer rather right than wrong.")
    elif probabilities.threshold == 0:
        lines.append("Even the least sure answers are rather right than wrong.")
    else:
        assert probabilities.score_above is not None and probabilities.score_below is not None
        lines.append(
            f"Below a probability of {probabilities.threshold:.16g} an answer is rather wrong than"
            f" right on these rows, from which it is taken (--min-confidence):"
            f" {share(probabilities.coverage)} of the answers have more and score"
            f" {share(probabilities.score_above)}, the others {share(probabilities.score_below)}."
        )
    out = console()
    for line in lines:
        out.print(line, soft_wrap=True)
