"""`vqa data export-feedback`: what people said of answers in the chat, as data to train on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqa.cli.tables import console, counted, one_line, table
from vqa.errors import InputError

if TYPE_CHECKING:
    from vqa.chat.feedback import LeftOut
    from vqa.chat.feedback_export import Exported

_FEW = 200  # rows to train on
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write corrected and confirmed answers of the chat as train.jsonl and test.jsonl."""
    from vqa.chat.feedback_export import export
    from vqa.chat.history import History, history_directory
    from vqa.cli.progress import shown

    directory = history or history_directory()
    if not (directory / "history.sqlite").is_file():
        raise InputError(
            f"{directory}: no conversations are kept there; name the directory with --history"
        )
    kept = History(directory)
    try:
        with shown("export-feedback") as tell:
            done = export(
                kept, out, against=against or (), images=images, test_share=test_share, tell=tell,
                warn=lambda line: typer.echo(f"vqa: warning: {line}", err=True),
            )  # fmt: skip
    finally:
        kept.close()
    if as_json:
        from vqa.cli.score import print_json

        print_json(done.to_json() | {"next": _next(out, done)})
    else:
        _print(done, out)


def next_commands(out: Path, model: str, rows: int, compare: bool) -> list[str]:
    """The commands that go on from here: train the model, and compare the two.

    So few rows would be a handful of steps by the defaults: they are seen more often, in smaller
    ones.
    """
    run = shlex.quote(f"runs/{out.resolve().name}")
    model = model or "embedded"
    chosen = "" if model == "embedded" else f" {_start(model)}"
    train = shlex.quote(f"data={out / 'train.jsonl'}")
    often = " rows_per_step=1 epochs=10" if rows < _FEW else ""
    found = [f"vqa train finetune{chosen} {train} output={run}{often}"]
    if compare:
        test = shlex.quote(str(out / "test.jsonl"))
        found.append(f"vqa compare {shlex.quote(model)} {run} --data {test}")
    return found


def _next(out: Path, done: Exported) -> list[str]:
    model = next(iter(done.found.models()), "")
    return next_commands(out, model, done.train[0], compare=done.test[0] > 0)


def _start(model: str) -> str:
    """The settings to start a training from a model; an adapter is gone on from, on its base."""
    if not (Path(model) / "adapter_config.json").is_file():
        return shlex.quote(f"model={model}")
    from vqa.checkpoints import base_of

    return shlex.join([f"model={base_of(model)}", f"adapter={model}"])


def _print(done: Exported, out: Path) -> None:
    screen, found = console(), done.found
    shown = table(["what was judged", "answers"], ["answers"])
    for what, count in (
        ("corrected", found.count("corrected")),
        ("confirmed by a thumb up", found.count("confirmed")),
        ("left out: thumb down, not corrected", found.refused),
        ("left out: asked and answered the same", found.duplicates),
        ("left out: answered otherwise later", found.overruled),
        ("left out: picture of the data named", len(found.leaks)),
        ("left out: not usable", len(found.unusable)),
    ):
        shown.add_row(what, str(count))
    screen.print(shown)
    for conflict in found.conflicts[:_SHOWN]:
        kept = repr(conflict.kept) if conflict.kept else "none, the last was refused"
        others = ", ".join(map(repr, conflict.others))
        line = f"conflict: {one_line(conflict.question, 80)}: {kept} is kept, not {others}"
        screen.print(one_line(line, 300), soft_wrap=True)
    _print_left_out(found.leaks)
    _print_left_out(found.unusable)
    for name, (rows, pictures) in (("train", done.train), ("test", done.test)):
        if rows:
            about = f"{counted(rows, 'row')} about {counted(pictures, 'picture')}"
            screen.print(f"{out / name}.jsonl: {about}", soft_wrap=True)
    if not done.test[0]:
        screen.print("no test.jsonl: to measure, judge answers about a second picture "
                     "(and leave --test-share above 0)", soft_wrap=True)  # fmt: skip
    screen.print("To go on:")
    for command in _next(out, done):
        screen.print(f"  {command}", soft_wrap=True)


def _print_left_out(rows: Sequence[LeftOut]) -> None:
    screen = console()
    for row in rows[:_SHOWN]:
        line = f"left out: {one_line(row.question, 80)}: {row.reason}"
        screen.print(one_line(line, 300), soft_wrap=True)
    if len(rows) > _SHOWN:
        screen.print(f"... and {len(rows) - _SHOWN} more; --json has all of them")
