"""What reading is worth: questions about what is written, answered with and without the text.

    vqa data build mix data_root=DIR out=MIX text=6000
    python benchmarks/reading.py --data MIX/val/text.jsonl --images MIX --out MEASURED

Prints ANLS and exact match, in percent, of each `kind` of question: of the model with what a reader
read before the question, of the model alone, and of the reader alone, which answers with its most
likely line, the one of the largest letters that it is sure of. Also the seconds that a picture's
reading took. An interrupted run goes on from what `--out` has already.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from vqa.answering import SamplingParams
from vqa.data import read
from vqa.data.example import Example
from vqa.engine import LocalEngine
from vqa.errors import VQAError
from vqa.evaluation.predicting import predict
from vqa.evaluation.predictions import Prediction, RowId, read_predictions
from vqa.evaluation.scoring import score
from vqa.inputs.images import load_image
from vqa.metrics import get_metric
from vqa.models.checkpoints import load
from vqa.reading import ReadMode, TextReader, most_likely_line
from vqa.utils.progress import progress_bar, track

WAYS = {"read": "model and reader", "silent": "model alone", "reader": "reader alone"}
METRICS = ("anls", "exact_match")
Predictions = Mapping[RowId, Prediction]


def main(
    data: Annotated[Path, typer.Option(help="Rows with the column `kind`.")],
    images: Annotated[Path, typer.Option(help="Root of their pictures.")],
    out: Annotated[Path, typer.Option(help="Where predictions and scores go.")],
    model: Annotated[str, typer.Option(help="As for `vqa predict`.")] = "embedded",
    adapter: Annotated[str | None, typer.Option(help="As for `vqa predict`.")] = None,
    mode: Annotated[str, typer.Option("--read", help="auto or always.")] = "auto",
    rows: Annotated[int | None, typer.Option(help="At most so many rows.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="As for `vqa predict`.")] = 48,
) -> None:
    """Measure and print the table."""
    disable_progress_bar()
    try:
        examples = list(read(data, images))[:rows]
        reader = TextReader(_mode(mode))
        seconds = read_all(examples, reader)
        predictions = {
            **answers(examples, reader, out, model, adapter, max_new_tokens),
            "reader": {
                row.id: Prediction(most_likely_line(reader.read(load_image(row.images[0]))))
                for row in examples
            },
        }
        measured = {
            (way, name): score(examples, predictions[way], get_metric(name), by="kind")
            for way in WAYS
            for name in METRICS
        }
        (out / "scores.json").write_text(
            json.dumps({f"{w}.{n}": s.to_json() for (w, n), s in measured.items()}, indent=2)
        )
    except VQAError as error:
        raise SystemExit(f"reading.py: {error}") from error
    table = Table("kind", "rows", *(f"{name}\n{way}" for way in WAYS.values() for name in METRICS))
    slices = {key: result.slices for key, result in measured.items()}
    for kind, part in sorted(slices["read", "anls"].items()):
        cells = (f"{100 * slices[way, name][kind].value:.1f}" for way in WAYS for name in METRICS)
        table.add_row(kind, str(part.count), *cells)
    means = (f"{100 * r.values[r.main]:.1f}" for r in measured.values())
    table.add_row("all", str(len(examples)), *means)
    Console(width=150).print(table)
    typer.echo(
        f"reading: {sorted(seconds)[len(seconds) // 2]:.2f} s a picture, {max(seconds):.2f} s at "
        f"most, of {len(seconds)}"
    )


def _mode(mode: str) -> ReadMode:
    if mode == "auto":
        return "auto"
    if mode == "always":
        return "always"
    raise SystemExit("reading.py: --read is auto or always")


def read_all(examples: list[Example], reader: TextReader) -> list[float]:
    """Read each picture once; the seconds of each."""
    seconds = []
    paths = sorted({row.images[0] for row in examples})
    reader.read(load_image(paths[0]).crop((0, 0, 64, 64)))  # the engine is loaded
    for path in track(paths, "reading", "pictures", len(paths)):
        picture = load_image(path)
        began = time.perf_counter()
        reader.read(picture)
        seconds.append(time.perf_counter() - began)
    return seconds


def answers(
    examples: list[Example],
    reader: TextReader,
    out: Path,
    model: str,
    adapter: str | None,
    max_new_tokens: int,
) -> dict[str, Predictions]:
    """Answer all rows with what was read, and without."""
    loaded = load(model, adapter=adapter)
    out.mkdir(parents=True, exist_ok=True)
    predictions: dict[str, Predictions] = {}
    for way, its_reader in (("read", reader), ("silent", None)):
        engine = LocalEngine(loaded, max_batch=16, reader=its_reader)
        file = out / f"{way}.jsonl"
        with progress_bar(WAYS[way]) as tell:
            settings = SamplingParams(max_new_tokens=max_new_tokens)
            predict(engine, examples, file, settings, identity=engine.identity, progress=tell)
        predictions[way] = read_predictions(file)
    return predictions


if __name__ == "__main__":
    typer.run(main)
