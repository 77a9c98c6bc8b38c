"""How many rows a second `vqa predict` answers, beside a plain loop of transformers.

    python benchmarks/evaluation.py                       photos of scikit-image and parts of them
    python benchmarks/evaluation.py --data ROWS.jsonl --images DIR

The plain loop opens the picture, runs the processor and `generate()`, one row after the other. Both
have the same model, type and threads, both in one run, and they take turns at parts of the rows:
where other programs run beside it, trust the ratios only. Three kinds of rows are measured: many
short questions about each picture, one short question about each, and captions.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import timing
import torch
import typer
from agreement import PHOTOS, QUESTIONS
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from vqa.answering import Request, SamplingParams
from vqa.data import read
from vqa.data.example import Example
from vqa.engine import LocalEngine
from vqa.errors import VQAError
from vqa.evaluation.predicting import BATCH_SIZE, predict
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.models.checkpoints import LoadedModel, load
from vqa.utils.files import read_jsonl

CAPTION = "Write a short caption for the picture."
PER_PICTURE = 6
_SHORT = [question for question in QUESTIONS if question.split()[0] in ("What", "Is", "How")]


def main(
    model: Annotated[str, typer.Option(help="As for `vqa predict`.")] = "embedded",
    data: Annotated[Path | None, typer.Option(help="JSONL of rows with short answers.")] = None,
    images: Annotated[Path | None, typer.Option(help="Where the pictures of --data are.")] = None,
    rows: Annotated[int, typer.Option(min=2, help="Rows of each kind.")] = 192,
    batch_size: Annotated[int, typer.Option(min=1, help="As for `vqa predict`.")] = BATCH_SIZE,
    parts: Annotated[int, typer.Option(min=1, help="How often the two take turns.")] = 3,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="As for `vqa predict`.")] = 32,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: str = "auto",
    dtype: str = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no table.")] = False,
) -> None:
    """Measure and print."""
    disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
    settings = SamplingParams(max_new_tokens=max_new_tokens)
    with tempfile.TemporaryDirectory() as work:
        try:
            # without names before the questions: `generate()` has none
            loaded = replace(load(model, device=device, dtype=dtype), classifier=None)
            kinds = _kinds(data, images, Path(work), rows)
            result = {
                "model": model,
                "device": str(loaded.model.device),
                "dtype": str(loaded.model.dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "batch_size": batch_size,
                "kinds": {
                    name: compare(loaded, examples, settings, batch_size, parts, Path(work))
                    for name, examples in kinds.items()
                },
            }
        except VQAError as error:
            raise SystemExit(f"evaluation.py: {error}") from error
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        show(result)


def compare(
    loaded: LoadedModel,
    examples: Sequence[Example],
    settings: SamplingParams,
    batch_size: int,
    parts: int,
    work: Path,
) -> dict[str, Any]:
    """Answer the rows both ways, in turns; rows a second, and how many answers are the same."""
    engine = LocalEngine(loaded, max_batch=batch_size)
    out = work / "predictions.jsonl"

    def batched(some: Sequence[Example]) -> dict[str | int, str]:
        out.unlink(missing_ok=True)
        engine.clear_caches()
        predict(engine, some, out, settings, identity="benchmark", batch_size=batch_size)
        return {row["id"]: row["prediction"] for _, row in read_jsonl(out)}

    def plain(some: Sequence[Example]) -> dict[str | int, str]:
        return {example.id: _generate(loaded, example, settings) for example in some}

    seconds = {"predict": 0.0, "plain": 0.0}
    answers: dict[str, dict[str | int, str]] = {"predict": {}, "plain": {}}
    ways: dict[str, Callable[[Sequence[Example]], dict[str | int, str]]]
    ways = {"predict": batched, "plain": plain}
    for way in ways.values():  # what is done once a process
        way(examples[:2])
    size = -(-len(examples) // parts)
    size = -(-size // batch_size) * batch_size  # whole batches, as a long run has them
    for start in range(0, len(examples), size):
        for name, way in ways.items():
            began = time.perf_counter()
            answers[name] |= way(examples[start : start + size])
            seconds[name] += time.perf_counter() - began
    same = sum(answers["predict"][key] == text for key, text in answers["plain"].items())
    return {
        "rows": len(examples),
        "pictures": len({example.images for example in examples}),
        "rows_per_second": {name: len(examples) / spent for name, spent in seconds.items()},
        "ratio": seconds["plain"] / seconds["predict"],
        "same_answers": same,
    }


@torch.inference_mode()
def _generate(loaded: LoadedModel, example: Example, settings: SamplingParams) -> str:
    """The plain way: processor, `generate()`, decode."""
    model, processor = loaded.model, loaded.processor
    pictures = tuple(load_image(path) for path in example.images)
    request = Request((Message("user", example.question, pictures),), settings)
    ids, pixels = timing.inputs(loaded, request)
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **pixels,
        max_new_tokens=settings.max_new_tokens,
        do_sample=False,
    )
    new = output[0, ids.shape[1] :]
    return str(processor.tokenizer.decode(new, skip_special_tokens=True)).strip()


def _kinds(
    data: Path | None, images: Path | None, work: Path, rows: int
) -> dict[str, list[Example]]:
    """Return the rows of each kind, by its name."""
    if data is None:
        pictures = _parts_of_photos(work)
        several = [
            Example(f"{number}-{n}", (path,), _SHORT[(number + n) % len(_SHORT)])
            for number, path in enumerate(pictures)
            for n in range(PER_PICTURE)
        ]
    else:
        several = list(read(data, images, need_answers=False))
    first: dict[Any, Example] = {}
    count: dict[Any, int] = {}
    for example in several:
        first.setdefault(example.images, example)
        count[example.images] = count.get(example.images, 0) + 1
    many = [example for example in several if count[example.images] >= 5]
    order = list(first)  # whole pictures, where not all rows are taken
    many.sort(key=lambda example: order.index(example.images))
    single = list(first.values())
    kinds = {
        "five or more short questions a picture": many[:rows],
        "one short question a picture": single[:rows],
        "captions": [replace(example, question=CAPTION) for example in single[:rows]],
    }
    return {name: examples for name, examples in kinds.items() if examples}


def _parts_of_photos(work: Path) -> list[Path]:
    """Write photos of scikit-image, whole and cut in different ways, as files."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    paths = []
    for name in PHOTOS.split():
        photo = load_image(folder / name)
        width, height = photo.size
        boxes = [(0.0, 0.0, 1.0, 1.0)]
        for share in (0.5, 0.7):
            corners = [(x, y) for x in (0.0, 1 - share) for y in (0.0, 1 - share)]
            corners += [((1 - share) / 2, (1 - share) / 2)]
            boxes += [(x, y, x + share, y + share) for x, y in corners]
        for number, (left, top, right, bottom) in enumerate(boxes):
            box = (int(left * width), int(top * height), int(right * width), int(bottom * height))
            path = work / f"{Path(name).stem}-{number}.png"
            photo.crop(box).save(path)
            paths.append(path)
    return paths


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(
        title=f"{result['model']}: {result['dtype']}, {result['device']}, "
        f"{result['threads']} threads, batches of {result['batch_size']}"
    )
    table.add_column("rows")
    columns = ("rows", "pictures", "rows/s", "plain loop", "ratio", "same answers")
    for column in columns:
        table.add_column(column, justify="right")
    for name, kind in result["kinds"].items():
        rate = kind["rows_per_second"]
        table.add_row(
            name,
            str(kind["rows"]),
            str(kind["pictures"]),
            f"{rate['predict']:.1f}",
            f"{rate['plain']:.1f}",
            f"{kind['ratio']:.2f}",
            f"{kind['same_answers']} ({kind['same_answers'] / kind['rows']:.1%})",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
