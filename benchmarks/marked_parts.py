"""Does it help to mark the part that a question is about? Presence and counts, with and without.

    vqa data build mix data_root=DATA out=MIX
    python -m benchmarks.marked_parts --mix MIX --out FILE.json \
        --boxes DATA/coco/instances.json --boxes DATA/voc/instances.json

Asked are rows of MIX/val whose pictures have boxes: as they are, about the part alone, and about
the part with the whole picture before it, as the page does (`vqa/chat/turn.py`). The part holds all
boxes of what is asked about and a margin, so that the right answer stays the same; where the answer
is no, it holds a thing that is there, chosen at random. Printed is the share of right answers with
its interval of 95 %, by picture, and what a part changes. `--largest 0.1` asks about small things.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from PIL.Image import Image
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from benchmarks.explain import marked_things
from training.mix.questions import counts, presence
from training.mix.questions.words import plural, with_article
from vqa.answering import Answerer, SamplingParams
from vqa.chat import Conversation
from vqa.chat.page_options import ModelChoice
from vqa.data import read
from vqa.data.example import Example
from vqa.errors import InputError, VQAError
from vqa.evaluation.number_text import format_interval, format_value
from vqa.evaluation.predictions import Prediction
from vqa.evaluation.scoring import score
from vqa.inputs.boxes import Box, crop, parse_box
from vqa.inputs.images import load_image
from vqa.loading import load_choice
from vqa.metrics import get_metric
from vqa.utils.files import atomic_write
from vqa.utils.progress import track

WAYS = ("whole picture", "part alone", "part with whole picture")
METRIC = "exact_match"
MARGIN = 0.1  # of the width and height of what is marked, on each side


@dataclass(frozen=True)
class MarkedRow:
    """A row, and the part of its picture that the question is about."""

    example: Example
    box: Box


def main(
    mix: Annotated[Path, typer.Option(help="What `vqa data build mix` made.")],
    boxes: Annotated[list[Path], typer.Option(help="Boxes in COCO's format; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Where the scores go, as JSON.")],
    model: Annotated[str, typer.Option(help="As for `vqa predict`.")] = "embedded",
    adapter: Annotated[str | None, typer.Option(help="As for `vqa predict`.")] = None,
    questions: Annotated[int, typer.Option(min=2, help="Of each kind.")] = 100,
    largest: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the picture that a part may cover.")
    ] = 1.0,
) -> None:
    """Measure and print the table."""
    disable_progress_bar()
    try:
        marked = marked_things(boxes)
        kinds = ("presence", "counts")
        rows = {kind: marked_rows(kind, mix, marked, largest)[:questions] for kind in kinds}
        answerer = load_choice(ModelChoice(model, adapter))
        table, results = measure(answerer, rows)
    except VQAError as error:
        raise SystemExit(f"marked_parts.py: {error}") from error
    with atomic_write(out) as file:
        file.write(json.dumps({"model": answerer.name, **results}, indent=2) + "\n")
    Console(width=120).print(table)


def marked_rows(
    kind: str,
    mix: Path,
    marked: dict[str, dict[str, list[tuple[float, float, float, float]]]],
    largest: float,
) -> list[MarkedRow]:
    """List the rows of a kind whose part is known, as often yes as no.

    `largest` is the share of the picture's area that the part may cover. Raises InputError where
    there are no rows.
    """
    rows: list[MarkedRow] = []
    for example in read(mix / "val" / f"{kind}.jsonl", mix):
        path = Path(example.images[0])
        things = marked.get(path.name, {})
        if not things:
            continue
        if kind == "presence" and example.answers[0] == "no":
            name = random.Random(str(example.id)).choice(sorted(things))
        else:
            names = [one for one in things if _asks(example.question, one)]
            if not names:
                continue
            (name,) = names
        part = _around(things[name])
        if (part[2] - part[0]) * (part[3] - part[1]) > largest:
            continue
        try:
            box = parse_box(part, load_image(path).size)
        except InputError:  # too small a part, or no picture
            continue
        rows.append(MarkedRow(example, box))
    if kind == "presence":
        sides = [[row for row in rows if row.example.answers[0] == one] for one in ("yes", "no")]
        rows = [row for pair in zip(*sides, strict=False) for row in pair]
    if not rows:
        raise InputError(f"{mix}/val/{kind}.jsonl: no row is about such a part")
    return rows


def _asks(question: str, name: str) -> bool:
    """Tell whether a row's question is about a thing of that name."""
    return question in (
        presence.CHECK.format(a=with_article(name)),
        presence.CHECK_MANY.format(many=name),
        counts.CHECK.format(many=plural(name)),
    )


def _around(boxes: list[tuple[float, float, float, float]]) -> list[float]:
    """Return left, top, right and bottom of what holds all boxes and a margin."""
    left, top = min(one[0] for one in boxes), min(one[1] for one in boxes)
    right = max(one[0] + one[2] for one in boxes)
    bottom = max(one[1] + one[3] for one in boxes)
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    return [
        max(0.0, left - across), max(0.0, top - down),
        min(1.0, right + across), min(1.0, bottom + down),
    ]  # fmt: skip


def measure(
    answerer: Answerer, rows: dict[str, list[MarkedRow]]
) -> tuple[Table, dict[str, dict[str, object]]]:
    """Ask all rows in all ways; return the table and the scores by kind and way."""
    table = Table("questions", "rows", *WAYS, "lost and won by the part alone")
    results: dict[str, dict[str, object]] = {}
    for kind, some in rows.items():
        examples = [row.example for row in some]
        cells, right = [], {}
        results[kind] = {}
        for way in WAYS:
            predictions = dict(_answers(answerer, some, way, f"{kind}, {way}"))
            scores = score(examples, predictions, get_metric(METRIC))
            value = format_value(scores.main, scores.values[scores.main])
            near = format_interval(scores.main, scores.intervals.get(scores.main))
            cells.append(f"{value} ({near})" if near else value)
            results[kind][way] = scores.to_json()
            right[way] = {key for key, one in scores.rows if one >= 1}
        won = len(right["part alone"] - right["whole picture"])
        lost = len(right["whole picture"] - right["part alone"])
        table.add_row(kind, str(len(some)), *cells, f"-{lost} +{won}")
    return table, results


def _answers(
    answerer: Answerer, rows: list[MarkedRow], way: str, label: str
) -> Iterator[tuple[str | int, Prediction]]:
    for row in track(rows, label, "questions", len(rows)):
        picture = load_image(row.example.images[0])
        request = Conversation().ask_decoded(row.example.question, _given(picture, row.box, way))
        (answer,) = answerer.answer([request.request(SamplingParams(max_new_tokens=16))])
        yield row.example.id, Prediction(answer.text)


def _given(picture: Image, box: Box, way: str) -> list[Image]:
    if way == "whole picture":
        return [picture]
    part = crop(picture, box)
    return [part] if way == "part alone" else [picture, part]


if __name__ == "__main__":
    typer.run(main)
