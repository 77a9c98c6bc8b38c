"""Rows that the embedded model was trained on, to see how much of its training it knows by heart.

    python benchmarks/trained_rows.py --mix MIX --out DIR
    vqa predict --data DIR/daquar.jsonl --images MIX --out daquar.jsonl
    vqa score --data DIR/daquar.jsonl --predictions daquar.jsonl

and the same with captions.jsonl and `--metric cider_d`. What it scores on rows of MIX/val, which
have the same form, is what it can do with other pictures.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from vqa.utils.files import atomic_write, read_jsonl

QUESTIONS, CAPTIONED = 500, 400


def main(
    mix: Annotated[Path, typer.Option(help="What `vqa data build mix` made.")],
    out: Annotated[Path, typer.Option(help="Where the two files go.")],
) -> None:
    """Draw questions of DAQUAR, and pictures of Flickr8k with all their captions."""
    rows = [row for _, row in read_jsonl(mix / "train.jsonl")]
    draw = random.Random(1)
    questions = [row for row in rows if (row["source"], row["task"]) == ("daquar", "questions")]
    captions: dict[str, list[str]] = {}
    for row in rows:
        if (row["source"], row["task"]) == ("flickr8k", "captions"):
            captions.setdefault(row["image"], []).extend(row["answers"])
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "daquar.jsonl", draw.sample(questions, QUESTIONS))
    _write(
        out / "captions.jsonl",
        (
            {"id": image, "image": image, "question": "Describe the image.",
             "answers": captions[image], "task": "captions", "source": "flickr8k"}
            for image in draw.sample(sorted(captions), CAPTIONED)
        ),
    )  # fmt: skip


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with atomic_write(path) as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    typer.run(main)
