"""`vqa data check`: what is wrong with data, and what can be had of it without seeing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqa.cli import options
from vqa.cli.output import message_of, print_json
from vqa.cli.train import training_module
from vqa.errors import VQAError
from vqa.utils.console import console, counted, duration, one_line, table

if TYPE_CHECKING:
    from vqa.data.check import Report, TokenCount
    from vqa.data.example import Example
    from vqa.tools.row_tokens import RowTokenizer

_TRIED = 8  # rows whose pictures are encoded to take the time
_SHOWN = 100  # problems; --json has all


def check(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="Data of any format that is read.")],
    images: options.Images = None,
    validation: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Validation data: it must share no picture with FILE."),
    ] = None,
    model: options.Model = "embedded",
    time: Annotated[
        bool, typer.Option(help="Also try some steps, and reckon how long training would take.")
    ] = True,
    as_json: options.AsJson = False,
) -> None:
    """Read every row, open every picture and name all problems; exit code 2 if training fails."""
    from vqa.data.check import check as run
    from vqa.data.formats.probe import probe_file
    from vqa.data.reading import format_of
    from vqa.utils.progress import progress_bar

    for path in filter(None, (data, validation)):
        format_of(probe_file(path))  # before a model is fetched for it
    count, tokenizer = counter(model)
    with progress_bar("check") as tell:
        report = run(
            data, images, validation=validation, count=count, context=tokenizer.context, tell=tell
        )
    if not as_json:
        _print(report, model)
    timed = time and tokenizer.of_llava and not report.refused
    speed = _speed(report, data, images, model) if timed else None
    if as_json:
        print_json(report.to_json() | {"training": speed})
    elif speed is not None:
        _print_speed(speed)
    if report.refused:
        raise typer.Exit(2)


def counter(model: str) -> tuple[Callable[[Example], TokenCount], RowTokenizer]:
    """Return a function that counts a row's tokens as training does, and what it counts by."""
    from vqa.loading import quiet_loading

    quiet_loading()
    from vqa.data.check import TokenCount
    from vqa.tools.row_tokens import row_tokenizer

    tokenizer = row_tokenizer(model)

    def count(example: Example) -> TokenCount:
        prompt = tokenizer.encode(example)
        images = prompt.input_ids.count(tokenizer.image_token_id)
        return TokenCount(len(prompt.input_ids), images, sum(prompt.loss_mask))

    return count, tokenizer


def _speed(report: Report, data: Path, images: Path | None, model: str) -> dict[str, float] | None:
    """Estimate what `vqa train finetune` takes for an epoch here; where it cannot, print why."""
    from vqa.data.reading import read
    from vqa.models.bundled.parts import show_status

    with show_status("trying some steps of training"):
        first = islice(read(data, images), _TRIED)
        pictures = dict.fromkeys(str(path) for example in first for path in example.images)
        try:
            pace = training_module("run").pace(model, list(pictures))
            why = "it does not fit into memory; with --dry-run it tells what to change"
        except VQAError as error:  # the report stands
            pace, why = None, message_of(error)
    if pace is None or report.packed_tokens is None:
        typer.echo(f"vqa: warning: `vqa train finetune` cannot run here: {why}", err=True)
        return None
    steps = report.packed_tokens * pace.seconds_a_token
    return {
        "rows_per_second": report.rows / steps,
        "hours": steps / 3600,
        "hours_for_features": report.pictures * pace.seconds_a_picture / 3600,
    }


def _print_speed(speed: dict[str, float]) -> None:
    console().print(
        f"`vqa train finetune` would take {duration(speed['hours'])} for an epoch here, "
        f"{speed['rows_per_second']:.1f} rows a second, and before it "
        f"{duration(speed['hours_for_features'])} for the pictures.",
        soft_wrap=True,
    )  # fmt: skip


def _print(report: Report, model: str) -> None:
    out = console()
    for problem in report.problems[:_SHOWN]:
        mark = "" if problem.refused else "warning: "
        key = "" if problem.id is None else f" (id {one_line(repr(problem.id), 60)})"
        reason = one_line(problem.reason, 300)
        out.print(f"{problem.file}:{problem.line}{key}: {mark}{reason}", soft_wrap=True)
    if len(report.problems) > _SHOWN:
        out.print(f"... and {len(report.problems) - _SHOWN} more; --json has all of them")
    rows, pictures = counted(report.rows, "good row"), counted(report.pictures, "picture")
    out.print(f"{report.file}: {rows} about {pictures}", soft_wrap=True)
    for path, notice in report.notices:
        out.print(one_line(f"{notice.line_about(path)}.", 500), soft_wrap=True)
    if report.answers:
        answers = table(["commonest answers", "rows", "share"], ["rows", "share"])
        for answer, count in report.answers:
            answers.add_row(one_line(answer, 60), str(count), f"{count / report.rows:.1%}")
        out.print(answers)
        out.print(f"{counted(report.different_answers, 'different answer')} in all.")
    if report.commonest_answer is not None and report.question_alone is not None:
        out.print(
            f"Without seeing: the commonest answer is right for {report.commonest_answer:.1%} of "
            f"the rows, the commonest answer to the same question for {report.question_alone:.1%}.",
            soft_wrap=True,
        )
    tokens = report.tokens
    if tokens is not None:
        takes = f"; {one_line(model, 60)} takes {report.context}" if report.context else ""
        out.print(
            f"Tokens of a row: {tokens.min} at least, {tokens.median} in the middle, "
            f"{tokens.p95} for 95 %, {tokens.max} at most{takes}. "
            f"In all rows {tokens.images} are of pictures and {tokens.in_loss} are learned.",
            soft_wrap=True,
        )
    refused = sum(problem.refused for problem in report.problems)
    warnings = len(report.problems) - refused
    counts = f"{counted(refused, 'problem')} that training refuses, {counted(warnings, 'warning')}"
    out.print(f"{counts}." if report.problems else "No problems." if report.rows else "No rows.")
