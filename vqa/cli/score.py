"""`vqa score`: how good the answers to a file of questions are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqa.cli import options
from vqa.cli.scored import scored_rows
from vqa.cli.tables import console, counted, json_text, one_line, some, table
from vqa.errors import InputError

if TYPE_CHECKING:
    from vqa.data.example import Example
    from vqa.evaluation.score import Key, Prediction, Scores
    from vqa.metrics.metric import Metric

PredictionsFile = Annotated[Path, typer.Option(metavar="FILE", help="What `vqa predict` wrote.")]
MetricName = Annotated[
    str, typer.Option(metavar="NAME", help="exact_match, vqa_accuracy, pope, bleu and others.")
]
Profile = Annotated[
    str, typer.Option(metavar="NAME", help="Whose rules: official, lmms-eval or vlmevalkit.")
]
_ROUGH = 20  # pictures; intervals of fewer are too narrow
Draws = Annotated[
    int, typer.Option(metavar="N", min=100, help="Draws of pictures for the intervals.")
]


def score(
    data: options.DataFile,
    predictions: PredictionsFile,
    metric: MetricName = "exact_match",
    profile: Profile = "official",
    rows: Annotated[bool, typer.Option("--rows", help="The score of every row, too.")] = False,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="A score for each value of this column.")
    ] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score predictions beside what is reached without seeing; pictures are not opened."""
    from vqa.evaluation.runs import check_condition, disagreements
    from vqa.evaluation.score import read_predictions
    from vqa.evaluation.score import score as run
    from vqa.metrics import metric as by_name

    chosen = by_name(metric, profile)
    examples = scored_rows(data)
    answers = read_predictions(predictions)
    if explain is not None:
        _explain(examples, _row(examples, explain, data), answers, chosen, as_json)
        return
    for path, condition in ((blind, "blind"), (swap, "swap")):
        if path is not None:
            check_condition(path, condition)
            for line in disagreements(predictions, path, ("model", "adapter", "data")):
                typer.echo(f"vqa: warning: {line}", err=True)
    found = run(
        examples,
        answers,
        chosen,
        blind=read_predictions(blind) if blind else None,
        swap=read_predictions(swap) if swap else None,
        by=by,
        draws=draws,
    )
    if as_json:
        print_json(found.to_json(rows) | {"profile": profile})
    else:
        _print(found, profile, rows, by)


def print_json(value: object) -> None:
    """One object; a share of nothing, which JSON has no number for, is null."""
    text = json.dumps(json.loads(json.dumps(value), parse_constant=lambda _: None),
                      ensure_ascii=False, indent=2)  # fmt: skip
    typer.echo(text.encode("utf-8", "backslashreplace").decode())


def _row(examples: list[Example], wanted: str, data: Path) -> Example:
    """The row of that id, given as JSON or as text."""
    by_id = {example.id: example for example in examples}
    keys: list[Key] = [wanted]
    try:
        parsed = json.loads(wanted)
    except (ValueError, RecursionError):
        pass
    else:
        if isinstance(parsed, str | int) and not isinstance(parsed, bool):
            keys.insert(0, parsed)
    for key in keys:
        if key in by_id:
            return by_id[key]
    raise InputError(f"{data} has no row with the id {wanted!r}")


def _explain(
    rows: list[Example],
    row: Example,
    predictions: dict[Key, Prediction],
    metric: Metric,
    as_json: bool,
) -> None:
    from vqa.evaluation.score import items, texts

    said = predictions.get(row.id)
    shown_to = items(rows, texts(rows, predictions))  # all: a row's score may depend on the others
    steps = metric.explain(shown_to[rows.index(row)])
    reached = float(metric.rows(shown_to)[rows.index(row)])
    if as_json:
        print_json({
            "id": row.id, "question": row.question, "answers": row.answers,
            "prediction": said.text if said else None, "error": said.error if said else None,
            "metric": metric.name, "score": reached, "steps": steps,
        })  # fmt: skip
        return
    shown = one_line(repr(said.text), 2000) if said and said.text is not None else "none"
    if said and said.error is not None:
        shown += f" (failed: {one_line(said.error)})"
    for name, text in (
        ("row", one_line(json_text(row.id), 2000)),
        ("question", one_line(row.question, 2000)),
        ("answers", one_line(", ".join(map(repr, row.answers)), 2000)),
        ("prediction", shown),
    ):
        typer.echo(f"{name}: {text}")
    typer.echo(f"{metric.name}: {reached:.4g}")
    for step in steps:
        typer.echo(f"    {one_line(step, 2000)}")


def _print(found: Scores, profile: str, rows: bool, by: str | None) -> None:
    from vqa.evaluation.wording import BASELINES, amount, interval

    out = console()
    if rows:
        for key, value in found.rows:
            typer.echo(f"{value:6.3f}  {one_line(json_text(key), 2000)}")
    rules = "" if profile == "official" else f" (rules of {profile})"
    out.print(
        f"{found.metric}{rules} over {counted(found.count, 'row')}"
        f" of {counted(found.pictures, 'picture')}"
    )
    names = list(found.values)
    shown = table(["", *names], names)
    shown.add_row("the predictions", *(amount(name, found.values[name]) for name in names))
    if found.intervals:
        shown.add_row("95 % interval", *(interval(n, found.intervals.get(n)) for n in names))
    for baseline, reached in found.baselines.items():
        label = BASELINES[baseline]
        if baseline == "commonest":
            label += f" ({one_line(repr(found.commonest_answer), 40)})"
        shown.add_row(label, *(amount(name, reached[name]) for name in names))
    out.print(shown)
    out.print(found.seeing.sentence, soft_wrap=True)
    near = found.intervals.get(found.main)
    if near is None:
        out.print("No interval: the rows share one picture.")
    elif near[0] == near[1]:
        out.print("All pictures score alike: the interval cannot tell how sure the score is.")
    elif found.pictures < _ROUGH:
        out.print(f"Intervals from {found.pictures} pictures are rough.")
    if by:
        _print_slices(found, by)
    _print_calibration(found)
    for what, keys in (
        ("without a prediction, counted as an empty answer", found.missing),
        ("failed, counted as an empty answer", found.errors),
        ("predicted but not in the data, left out", found.unknown),
    ):
        if keys:
            out.print(f"{counted(len(keys), 'row')} {what}: {some(keys)}", soft_wrap=True)


def _print_slices(found: Scores, by: str) -> None:
    from vqa.evaluation.wording import amount, interval

    shown = table([one_line(by, 40), "rows", found.main, "95 %"], ["rows", found.main, "95 %"])
    for name, part in found.slices.items():
        value, near = amount(found.main, part.value), interval(found.main, part.interval)
        shown.add_row(one_line(name, 60), str(part.count), value, near)
    console().print(shown)


def _print_calibration(found: Scores) -> None:
    from vqa.evaluation.wording import amount

    probabilities = found.calibration
    if probabilities is None:
        return

    def share(value: float) -> str:
        return amount("score", value)

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
            f"Below a probability of {probabilities.threshold:.3g} an answer is rather wrong than"
            f" right (--min-confidence): {share(probabilities.coverage)} of the answers have more"
            f" and score {share(probabilities.score_above)}, the others"
            f" {share(probabilities.score_below)}."
        )
    out = console()
    for line in lines:
        out.print(line, soft_wrap=True)
