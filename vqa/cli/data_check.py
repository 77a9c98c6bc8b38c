"""`vqa data check`: what is wrong with data, and what can be had of it without seeing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqa.cli import options
from vqa.cli.own_training import own_training
from vqa.cli.tables import console, counted, duration, one_line, table
from vqa.errors import VQAError

if TYPE_CHECKING:
    from vqa.data.check import Report, TokenCount
    from vqa.data.example import Example

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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Read every row, open every picture and name all problems; exit code 2 if training fails."""
    from vqa.cli.progress import shown
    from vqa.data.check import check as run
    from vqa.data.formats.look import look
    from vqa.data.reading import format_of

    for path in filter(None, (data, validation)):
        format_of(look(path))  # before a model is fetched for it
    count, context = counter(model)
    with shown("check") as tell:
        found = run(data, images, validation=validation, count=count, context=context, tell=tell)
    if not as_json:
        _print(found, model)
    speed = _speed(found, data, images, model) if time and not found.refused else None
    if as_json:
        from vqa.cli.score import print_json

        print_json(found.to_json() | {"training": speed})
    elif speed is not None:
        _print_speed(speed)
    if found.refused:
        raise typer.Exit(2)


def counter(model: str) -> tuple[Callable[[Example], TokenCount], int | None]:
    """A function that counts a row's tokens as training does, and how many the model takes."""
    options.quiet_loading()
    from vqa.checkpoints import look
    from vqa.data.check import TokenCount
    from vqa.turns import encode_row

    config, processor = look(model)
    context = getattr(config.text_config, "max_position_embeddings", None)

    def count(example: Example) -> TokenCount:
        prompt = encode_row(example, processor)
        images = prompt.input_ids.count(processor.image_token_id)
        return TokenCount(len(prompt.input_ids), images, sum(prompt.learned))

    return count, context


def _speed(found: Report, data: Path, images: Path | None, model: str) -> dict[str, float] | None:
    """What `vqa train finetune` would take for an epoch here; where it cannot, say why."""
    from vqa.data.reading import read
    from vqa.parts import working

    with working("trying some steps of training"):
        first = islice(read(data, images), _TRIED)
        pictures = dict.fromkeys(str(path) for example in first for path in example.images)
        try:
            pace = own_training("run").pace(model, list(pictures))
            why = "it does not fit into memory; with --dry-run it tells what to change"
        except VQAError as error:  # what was found in the data stands
            pace, why = None, str(error)
    if pace is None or found.packed_tokens is None:
        typer.echo(f"vqa: warning: `vqa train finetune` cannot run here: {why}", err=True)
        return None
    steps = found.packed_tokens * pace.seconds_a_token
    return {
        "rows_per_second": found.rows / steps,
        "hours": steps / 3600,
        "hours_for_features": found.pictures * pace.seconds_a_picture / 3600,
    }


def _print_speed(speed: dict[str, float]) -> None:
    console().print(
        f"`vqa train finetune` would take {duration(speed['hours'])} for an epoch here, "
        f"{speed['rows_per_second']:.1f} rows a second, and before it "
        f"{duration(speed['hours_for_features'])} for the pictures.",
        soft_wrap=True,
    )  # fmt: skip


def _print(found: Report, model: str) -> None:
    out = console()
    for problem in found.problems[:_SHOWN]:
        mark = "" if problem.refused else "warning: "
        key = "" if problem.id is None else f" (id {one_line(repr(problem.id), 60)})"
        reason = one_line(problem.reason, 300)
        out.print(f"{problem.file}:{problem.line}{key}: {mark}{reason}", soft_wrap=True)
    if len(found.problems) > _SHOWN:
        out.print(f"... and {len(found.problems) - _SHOWN} more; --json has all of them")
    rows, pictures = counted(found.rows, "good row"), counted(found.pictures, "picture")
    out.print(f"{found.file}: {rows} about {pictures}", soft_wrap=True)
    if found.answers:
        shown = table(["commonest answers", "rows", "share"], ["rows", "share"])
        for answer, count in found.answers:
            shown.add_row(one_line(answer, 60), str(count), f"{count / found.rows:.1%}")
        out.print(shown)
        out.print(f"{counted(found.different_answers, 'different answer')} in all.")
    if found.commonest_answer is not None and found.question_alone is not None:
        out.print(
            f"Without seeing: the commonest answer is right for {found.commonest_answer:.1%} of "
            f"the rows, the commonest answer to the same question for {found.question_alone:.1%}.",
            soft_wrap=True,
        )
    tokens = found.tokens
    if tokens is not None:
        takes = f"; {one_line(model, 60)} takes {found.context}" if found.context else ""
        out.print(
            f"Tokens of a row: {tokens.least} at least, {tokens.median} in the middle, "
            f"{tokens.most_of_95_percent} for 95 %, {tokens.most} at most{takes}. "
            f"In all rows {tokens.images} are of pictures and {tokens.learned} are learned.",
            soft_wrap=True,
        )
    refused = sum(problem.refused for problem in found.problems)
    warnings = len(found.problems) - refused
    told = f"{counted(refused, 'problem')} that training refuses, {counted(warnings, 'warning')}"
    out.print(f"{told}." if found.problems else "No problems." if found.rows else "No rows.")
