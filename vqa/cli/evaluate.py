"""`vqa eval`: answer, score and report the rows of named benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqa.cli import options
from vqa.cli.output import notices
from vqa.cli.predict import Backend, predict
from vqa.cli.report import report
from vqa.cli.score import scored_rows
from vqa.errors import InputError
from vqa.utils.console import console, counted, table
from vqa.utils.files import atomic_write, json_text

if TYPE_CHECKING:
    from vqa.evaluation.benchmark_tasks import Task
    from vqa.evaluation.scoring import MetricResult


def evaluate(
    tasks: Annotated[
        list[str] | None, typer.Argument(metavar="TASK", help="By name, or a YAML file of one.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the tasks and end.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Gets a folder for each task.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="[TASK=]PATH", help="A local copy; without it the hub is asked."),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="[TASK=]DIR", help="Root of its pictures; default: the data's."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N rows of each task.")
    ] = None,
    model: options.Model = "embedded",
    adapter: options.Adapter = None,
    backend: Annotated[
        Backend, typer.Option(help="Answer here, or send the rows to an OpenAI endpoint.")
    ] = "local",
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The endpoint, as http://host:8000/v1.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered at once.")] = 32,
    max_errors: Annotated[
        int, typer.Option(metavar="N", min=0, help="Exit with 1 where more rows fail.")
    ] = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
    read: options.Read = "never",
) -> None:
    """Predict, score and report by name; interrupted, the same command goes on."""
    from vqa.evaluation.benchmark_rows import write_rows
    from vqa.evaluation.benchmark_tasks import load_task, task_names

    if listing:
        _list({name: load_task(name) for name in task_names()})
        return
    if not tasks or out is None:
        raise InputError("name the tasks, and --out DIR; --list lists them")
    chosen = {Path(name).stem: load_task(name) for name in tasks}
    if len(chosen) < len(tasks):
        raise InputError("two tasks have the same name")
    copies, roots = _by_task("--data", data, chosen), _by_task("--images", images, chosen)
    rows = {
        name: write_rows(
            task, out / name / "rows.jsonl", copies.get(name), roots.get(name), limit,
            notice=notices(copies.get(name, Path(task.data or name))),
        )
        for name, task in chosen.items()
    }  # fmt: skip
    for name, task in chosen.items():
        if limit is not None and task.metric in ("circular_choice", "mme"):
            line = f"vqa: {name}: --limit parts questions that count together; no benchmark's score"
            typer.echo(line, err=True)
    results = {}
    for name, task in chosen.items():
        predictions = out / name / "predictions.jsonl"
        predict(
            rows[name].path, predictions, rows[name].images, model=model, adapter=adapter,
            backend=backend, base_url=base_url, batch_size=batch_size, max_errors=max_errors,
            max_new_tokens=task.max_new_tokens, device=device, dtype=dtype, quantize=quantize,
            read=read,
        )  # fmt: skip
        results[name] = _score(task, rows[name].path, predictions)
        by = task.by if results[name][0].slices else None
        page = out / name / "report.html"
        report(
            rows[name].path, [predictions], metric=task.metric, profile=task.profile,
            images=rows[name].images, by=by, out=page,
        )  # fmt: skip
    _print(results)


def _by_task(option: str, values: list[str] | None, tasks: dict[str, Task]) -> dict[str, Path]:
    """Read what is given as TASK=PATH; of a single task the path is enough."""
    paths: dict[str, Path] = {}
    for value in values or []:
        name, equals, path = value.partition("=")
        if not equals or name not in tasks:
            if len(tasks) > 1:
                raise InputError(f"{option} {value}: say which, as {next(iter(tasks))}={value}")
            name, path = next(iter(tasks)), value
        if name in paths:
            raise InputError(f"{option} is given twice for {name}")
        paths[name] = Path(path)
    return paths


def _score(task: Task, data: Path, predictions: Path) -> tuple[MetricResult, float | None]:
    """Score predictions, into `scores.json` beside them too; also what guesses score."""
    from vqa.evaluation.benchmark_rows import chance_of
    from vqa.evaluation.predictions import read_predictions
    from vqa.evaluation.scoring import score

    examples = scored_rows(data, predictions=[predictions])
    by = task.by if any(task.by in example.extra for example in examples) else None
    answers = read_predictions(predictions, examples)
    result = score(examples, answers, task.scored_by(), by=by)
    chance = chance_of(task, examples)
    scores: dict[str, Any] = result.to_json(with_rows=True)
    scores |= {"profile": task.profile, "chance": chance, "prompt": task.prompt}
    with atomic_write(predictions.with_name("scores.json")) as file:
        file.write(json_text(scores, indent=2) + "\n")
    return result, chance


def _list(tasks: dict[str, Task]) -> None:
    out = table(["task", "metric", "data", "what it is"])
    for name, task in tasks.items():
        out.add_row(name, task.metric, task.data or "(a local copy)", task.title)
    console().print(out)


def _print(results: dict[str, tuple[MetricResult, float | None]]) -> None:
    from vqa.evaluation.number_text import BASELINES, format_interval, format_value

    shown = [key for key in BASELINES if any(key in r.baselines for r, _ in results.values())]
    numbers = ["score", "95 %", "guesses", *(BASELINES[key] for key in shown), "rows"]
    out = table(["task", "metric", *numbers], numbers)
    for name, (result, chance) in results.items():
        main = result.main
        out.add_row(
            name, f"{result.metric} {main}".removesuffix(" score"),
            format_value(main, result.values[main]),
            format_interval(main, result.intervals.get(main)),
            "" if chance is None else format_value(main, chance),
            *(format_value(main, result.baselines[key][main]) for key in shown),
            str(result.count),
        )  # fmt: skip
    console().print(out)
    console().print(f"{counted(len(results), 'task')}; scores.json and report.html are beside each")
