"""The table of measurements in docs/model-card.md, as Markdown.

    vqa data build mix data_root=DIR out=MIX
    python benchmarks/model_card.py --mix MIX --out MEASURED

Answers the validation rows of the mix with their own pictures, with blank ones and with other rows'
pictures, as `vqa predict` does, and scores them as `vqa score` does. Captions are written by beam
search (`--num-beams 3 --length-penalty 0.7`), all else is greedy. An interrupted run goes on
from what `--out` has already.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from transformers.utils.logging import disable_progress_bar

from vqa.answering import SamplingParams
from vqa.data import easy_vqa, read
from vqa.data.example import Example
from vqa.engine import LocalEngine
from vqa.errors import VQAError
from vqa.evaluation.picture_conditions import OWN_PICTURE, Condition
from vqa.evaluation.predicting import predict
from vqa.evaluation.predictions import read_predictions
from vqa.evaluation.scoring import MetricResult, score
from vqa.metrics import get_metric
from vqa.models.checkpoints import load

ROWS = [  # file of the mix, metric, what it is called
    ("presence", "exact_match", "presence, as many yes as no, exact match"),
    ("counts", "exact_match", "how many, exact match"),
    ("names", "exact_match", "names of objects, any accepted, exact match"),
    ("unseen_names", "exact_match", "names held out, any accepted, exact match"),
    ("places", "exact_match", "kinds of place, exact match"),
    ("people", "vqa_accuracy", "questions that people asked, VQA accuracy"),
    ("conditions", "exact_match", "weather and materials, exact match"),
    ("daquar", "exact_match", "DAQUAR, exact match"),
    ("easy_vqa", "exact_match", "easy-VQA official test, 1,000 questions, exact match"),
    ("captions", "bleu", "Flickr8k dev captions, 3 beams, BLEU-4"),
    ("captions", "cider_d", "Flickr8k dev captions, 3 beams, CIDEr-D x 100"),
]
CONDITIONS: tuple[Condition, ...] = (OWN_PICTURE, "blind", "swap")


def main(
    mix: Annotated[Path, typer.Option(help="What `vqa data build mix` made.")],
    out: Annotated[Path, typer.Option(help="Where predictions and scores go.")],
    model: Annotated[str, typer.Option(help="As for `vqa predict`.")] = "embedded",
    rows: Annotated[int | None, typer.Option(help="At most so many rows of each file.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="As for `vqa predict`.")] = 32,
) -> None:
    """Measure and print the table."""
    disable_progress_bar()
    try:
        loaded = load(model)
        identity = loaded.identity
        engine = LocalEngine(loaded, max_batch=32)
        out.mkdir(parents=True, exist_ok=True)
        results: list[tuple[str, MetricResult]] = []
        for name, metric_name, title in ROWS:
            examples = _questions(name, mix)[:rows]
            settings = SamplingParams(max_new_tokens=max_new_tokens)
            if name == "captions":
                settings = replace(settings, num_beams=3, length_penalty=0.7)
            predictions = {}
            for condition in CONDITIONS:
                file = out / f"{name}.{condition}.jsonl"
                with Progress() as progress:
                    bar = progress.add_task(f"{name}, {condition}", total=len(examples))
                    predict(
                        engine, examples, file, settings, identity=identity, condition=condition,
                        progress=lambda done, total, p=progress, b=bar: p.update(b, completed=done),
                    )  # fmt: skip
                predictions[condition] = read_predictions(file)
            scores = score(
                examples, predictions[OWN_PICTURE], get_metric(metric_name),
                blind=predictions["blind"], swap=predictions["swap"],
            )  # fmt: skip
            (out / f"{name}.{metric_name}.json").write_text(json.dumps(scores.to_json(), indent=2))
            results.append((title, scores))
            typer.echo(f"{title}: {line(scores)}", err=True)
    except VQAError as error:
        raise SystemExit(f"model_card.py: {error}") from error
    typer.echo(table(results))


def _questions(name: str, mix: Path) -> list[Example]:
    if name != "easy_vqa":
        return list(read(mix / "val" / f"{name}.jsonl", mix))
    drawings = easy_vqa.directory()
    questions = list(read(drawings / "test.jsonl", drawings))
    return random.Random(0).sample(questions, 1000)


def table(results: list[tuple[str, MetricResult]]) -> str:
    """Write the table as Markdown, a line for each metric."""
    heads = ("validation questions", "rows", "this model (95 %)", "commonest answer")
    heads += ("question alone", "blank picture", "another picture", "seeing is worth (95 %)")
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {title} | {scores.count} | {line(scores)} |" for title, scores in results]
    return "\n".join(lines)


def line(scores: MetricResult) -> str:
    """Write the cells of one metric behind its name and number of rows."""

    def of(values: Mapping[str, float]) -> str:
        return f"{100 * values[scores.main]:.1f}"

    def between(interval: tuple[float, float] | None) -> str:
        return (
            "" if interval is None else " ({:.1f} to {:.1f})".format(*(100 * v for v in interval))
        )

    cells = [f"**{of(scores.values)}**{between(scores.intervals.get(scores.main))}"]
    cells += [
        of(scores.baselines[name]) for name in ("commonest", "question_only", "blind", "swap")
    ]
    cells.append(f"{100 * scores.gain.value:+.1f}{between(scores.gain.interval)}")
    return " | ".join(cells)


if __name__ == "__main__":
    typer.run(main)
