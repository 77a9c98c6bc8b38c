"""How far the model says what its encoder's classifier names: where a wrong name comes from.

    python benchmarks/names_in_the_hint.py --data MIX/val/unseen_names.jsonl --images MIX

Counts the rows whose hint begins with an accepted name, and the right answers among these and among
the others. The first number is the classifier's own accuracy, a bound of what reading its names can
give; the second says how far the language model makes use of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

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
_FIRST = re.compile(r"\[names: \w+ ([^,;\]]+)")  # as `vqa.inputs.hints.names_block` writes it


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
        pairs: list[tuple[bool, bool]] = []
        for start in track(range(0, len(examples), BATCH), "asking", "batches", None):
            pairs += right(engine, examples[start : start + BATCH])
    except VQAError as error:
        raise SystemExit(f"names_in_the_hint.py: {error}") from error
    named = [answered for hinted, answered in pairs if hinted]
    others = [answered for hinted, answered in pairs if not hinted]
    typer.echo(
        f"{len(pairs)} rows, {sum(named) + sum(others)} answered rightly\n"
        f"hint begins with an accepted name: {len(named)}, answered rightly {sum(named)}\n"
        f"others: {len(others)}, answered rightly {sum(others)}"
    )


def right(engine: LocalEngine, examples: Sequence[Example]) -> list[tuple[bool, bool]]:
    """Say of each row whether the hint's first name is accepted, and whether the answer is."""
    requests = []
    for row in examples:
        if len(row.images) != 1:
            raise InputError(f"row {row.id}: one picture is expected, {len(row.images)} are there")
        message = Message("user", row.question, (load_image(row.images[0]),))
        requests.append(Request((message,), SamplingParams(max_new_tokens=16)))
    return [
        (
            exact_match(first_name(answer.hints), row.answers) == 1,
            exact_match(answer.text, row.answers) == 1,
        )
        for row, answer in zip(examples, engine.answer(requests), strict=True)
    ]


def first_name(hints: Sequence[str]) -> str:
    """Return the likeliest name of a picture's hint; empty where there is none."""
    match = _FIRST.match(hints[0]) if hints else None
    return match[1] if match else ""


if __name__ == "__main__":
    typer.run(main)
