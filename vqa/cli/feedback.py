"""`vqa data export-feedback`: corrected and rated answers of the chat, as data to train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqa.cli import options
from vqa.cli.output import print_json
from vqa.errors import InputError
from vqa.tools.next_commands import next_commands
from vqa.utils.console import console, counted, one_line, table

if TYPE_CHECKING:
    from vqa.chat.feedback_export import Exported
    from vqa.chat.feedback_rows import SkippedAnswer

_SHOWN = 20  # of a list; --json has all


def export_feedback(
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="The directory to write to.")],
    history: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where `vqa app` keeps conversations; default: its own."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Leave out pictures of this data; may come repeatedly."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Root of that data's pictures; default: its folder."),
    ] = None,
    test_share: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Of the pictures, for test.jsonl.")
    ] = 0.2,
    pairs: Annotated[
        bool,
        typer.Option(
            "--pairs", help="Only corrected and preferred answers, each with the worse one."
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write corrected and confirmed answers of the chat as train.jsonl and test.jsonl."""
    from vqa.chat.feedback_export import export
    from vqa.chat.history import History, history_directory
    from vqa.utils.progress import progress_bar

    directory = history or history_directory()
    if not (directory / "history.sqlite").is_file():
        raise InputError(
            f"{directory}: no conversations are kept there; name the directory with --history"
        )
    chats = History(directory)
    try:
        with progress_bar("export-feedback") as tell:
            done = export(
                chats, out, against=against or (), images=images, test_share=test_share, tell=tell,
                pairs=pairs,
                warn=lambda line: typer.echo(f"vqa: warning: {line}", err=True),
            )  # fmt: skip
    finally:
        chats.close()
    if as_json:
        print_json(done.to_json() | {"next": _next(out, done, pairs)})
    else:
        _print(done, out, _next(out, done, pairs))


def _next(out: Path, done: Exported, pairs: bool) -> list[str]:
    model = next(iter(done.feedback.models()), "")
    recipe = "preference" if pairs else "finetune"
    return next_commands(out, model, done.train[0], done.test[0] > 0, recipe)


def _print(done: Exported, out: Path, commands: Sequence[str]) -> None:
    screen, feedback = console(), done.feedback
    counts = table(["what was judged", "answers"], ["answers"])
    for what, count in (
        ("corrected", feedback.count("corrected")),
        ("confirmed by a thumb up", feedback.count("confirmed")),
        ("preferred to another answer, for --pairs", len(feedback.preferred)),
        ("left out: thumb down, not corrected", feedback.refused),
        ("left out: asked and answered the same", feedback.duplicates),
        ("left out: answered otherwise later", feedback.overruled),
        ("left out: picture of the data named", len(feedback.leaks)),
        ("left out: not usable", len(feedback.unusable)),
    ):
        counts.add_row(what, str(count))
    screen.print(counts)
    for conflict in feedback.conflicts[:_SHOWN]:
        answer = repr(conflict.answer) if conflict.answer else "none, the last was refused"
        others = ", ".join(map(repr, conflict.others))
        line = f"conflict: {one_line(conflict.question, 80)}: {answer} is kept, not {others}"
        screen.print(one_line(line, 300), soft_wrap=True)
    _print_skipped(feedback.leaks)
    _print_skipped(feedback.unusable)
    for name, (rows, pictures) in (("train", done.train), ("test", done.test)):
        if rows:
            about = f"{counted(rows, 'row')} about {counted(pictures, 'picture')}"
            screen.print(f"{out / name}.jsonl: {about}", soft_wrap=True)
    if not done.test[0]:
        screen.print("no test.jsonl: to measure, judge answers about a second picture "
                     "(and leave --test-share above 0)", soft_wrap=True)  # fmt: skip
    screen.print("To go on:")
    for command in commands:
        screen.print(f"  {command}", soft_wrap=True)


def _print_skipped(rows: Sequence[SkippedAnswer]) -> None:
    screen = console()
    for row in rows[:_SHOWN]:
        line = f"left out: {one_line(row.question, 80)}: {row.reason}"
        screen.print(one_line(line, 300), soft_wrap=True)
    if len(rows) > _SHOWN:
        screen.print(f"... and {len(rows) - _SHOWN} more; --json has all of them")
