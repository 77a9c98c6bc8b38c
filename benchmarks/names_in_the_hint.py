"""How far the model says what its encoder's classifier names: where a wrong name comes from.

    python benchmarks/names_in_the_hint.py --data MIX/val/unseen_names.jsonl --images MIX

Counts the rows whose hint begins with an accepted name, and the right answers among these and among
the others, for each word that says how sure the classifier is of that name. The first number is the
classifier's own accuracy, a bound of what reading its names can give; the second says how far the
language model makes use of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from transformers.utils.logging import disable_progress_bar

from vqa.answering import Request, SamplingParams
from vqa.data import read
from vqa.data.example import Example
from vqa.engine import LocalEngine
from vqa.errors import InputError, VQAError
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.metrics.exact_match import exact_match
from vqa.models.checkpoints import load
from vqa.utils.progress import track

BATCH = 32
_FIRST = re.compile(r"\[names: (\w+) ([^,;\]]+)")  # as `vqa.inputs.hints.names_block` writes it


class Asked(NamedTuple):
    """What came of a row."""

    sure: str  # how sure the classifier is of its likeliest name, in the hint's word
    hinted: bool  # that name is accepted
    answered: bool  # the model's answer is


def main(
    data: Annotated[Path, typer.Option(help="Rows that ask for names, with one picture each.")],
    images: Annotated[Path, typer.Option(help="Root of their pictures.")],
    model: Annotated[str, typer.Option(help="As for `vqa ask`.")] = "embedded",
    adapter: Annotated[str | None, typer.Option(help="As for `vqa ask`.")] = None,
    rows: Annotated[int | None, typer.Option(help="At most so many rows.")] = None,
) -> None:
    """Ask all rows, and print how often the hint and the answer are right."""
    disable_progress_bar()
    try:
        examples = list(read(data, images))[:rows]
        engine = LocalEngine(load(model, adapter=adapter), max_batch=BATCH)
        asked: list[Asked] = []
        for start in track(range(0, len(examples), BATCH), "asking", "batches", None):
            asked += ask_all(engine, examples[start : start + BATCH])
    except VQAError as error:
        raise SystemExit(f"names_in_the_hint.py: {error}") from error
    typer.echo(f"{len(asked)} rows, {sum(row.answered for row in asked)} answered rightly")
    for hinted, title in ((True, "hint begins with an accepted name"), (False, "others")):
        of_title = [row for row in asked if row.hinted == hinted]
        typer.echo(f"{title}: {count(of_title)}")
        for sure in dict.fromkeys(row.sure for row in of_title):
            typer.echo(f"  {sure or 'no name'}: {count([r for r in of_title if r.sure == sure])}")


def count(rows: Sequence[Asked]) -> str:
    """Say how many rows there are and how many answers of them are right."""
    return f"{len(rows)}, answered rightly {sum(row.answered for row in rows)}"


def ask_all(engine: LocalEngine, examples: Sequence[Example]) -> list[Asked]:
    """Ask rows of one picture each; raises InputError for others."""
    requests = []
    for row in examples:
        if len(row.images) != 1:
            raise InputError(f"row {row.id}: one picture is expected, {len(row.images)} are there")
        message = Message("user", row.question, (load_image(row.images[0]),))
        requests.append(Request((message,), SamplingParams(max_new_tokens=16)))
    rows = []
    for row, answer in zip(examples, engine.answer(requests), strict=True):
        sure, name = first_name(answer.hints)
        hinted, answered = (exact_match(text, row.answers) == 1 for text in (name, answer.text))
        rows.append(Asked(sure, hinted, answered))
    return rows


def first_name(hints: Sequence[str]) -> tuple[str, str]:
    """Return how sure the likeliest name of a picture's hint is, and the name; empty for none."""
    match = _FIRST.match(hints[0]) if hints else None
    return (match[1], match[2]) if match else ("", "")


if __name__ == "__main__":
    typer.run(main)
