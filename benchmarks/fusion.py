"""How fast a fusion model answers, beside the generative embedded model on the same questions.

    python benchmarks/fusion.py --model runs/fusion --data QUESTIONS.jsonl --images DIR

One question at a time, in one run on one machine, the two models taking turns; medians. Three
states: from the picture's bytes; with the picture's features cached; and, for the generative model
alone, with its keys and values of the picture cached too. The quality of the answers is what
`vqa score` measures.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from vqa.answering import Answerer, Request, SamplingParams
from vqa.data import read
from vqa.engine import LocalEngine
from vqa.errors import VQAError
from vqa.fusion import storage
from vqa.fusion.answerer import FusionAnswerer
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.models.checkpoints import load

_OTHER = "Describe the picture."  # asked first where keys and values of the picture are cached


def main(
    model: Annotated[Path, typer.Option(help="A fusion model's directory.")],
    data: Annotated[Path, typer.Option(help="Rows with image and question.")],
    images: Annotated[Path | None, typer.Option(help="Where the pictures of --data are.")] = None,
    generative: Annotated[str, typer.Option(help="As for `vqa ask`.")] = "embedded",
    questions: Annotated[int, typer.Option(min=3, help="How many are timed.")] = 30,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: str = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no table.")] = False,
) -> None:
    """Measure and print."""
    disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        rows = list(islice(read(data, images, need_answers=False), questions))
        pairs = [(Path(row.images[0]).read_bytes(), row.question) for row in rows]
        fusion = FusionAnswerer(storage.load(str(model), device))
        loaded = load(generative, device=device)
        result = measure(fusion, lambda size: LocalEngine(loaded, prefix_bytes=size), pairs)
    except VQAError as error:
        raise SystemExit(f"fusion.py: {error}") from error
    result |= {"model": str(model), "generative": generative, "questions": len(pairs)}
    result["threads"] = torch.get_num_threads()
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        show(result)


def measure(
    fusion: FusionAnswerer, engine: Callable[[int], LocalEngine], questions: list[tuple[bytes, str]]
) -> dict[str, Any]:
    """Median milliseconds of an answer, and how many times as fast the fusion model is."""
    plain, keeping = engine(0), engine(1 << 30)
    times: dict[str, list[float]] = {}

    def timed(name: str, what: Callable[[], object]) -> None:
        began = time.perf_counter()
        what()
        times.setdefault(name, []).append(1000 * (time.perf_counter() - began))

    for content, text in questions:
        for name, answerer in (("fusion", fusion), ("generative", plain)):
            answerer.clear_caches()
            timed(f"{name}, from bytes", lambda: answer(answerer, content, text))  # noqa: B023
            question = request(content, text)
            answerer.answer([question])  # hashing the picture counts with its features
            timed(f"{name}, features cached", lambda: answerer.answer([question]))  # noqa: B023
        keeping.clear_caches()
        question = request(content, text)
        keeping.answer([Request((Message("user", _OTHER, question.messages[0].images),))])
        timed("generative, keys and values cached", lambda: keeping.answer([question]))  # noqa: B023
    medians = {name: statistics.median(values) for name, values in times.items()}
    fastest = medians["fusion, features cached"]
    return {
        "milliseconds": medians,
        "times_as_fast": {
            "from bytes": medians["generative, from bytes"] / medians["fusion, from bytes"],
            "features cached": medians["generative, features cached"] / fastest,
            "keys and values cached": medians["generative, keys and values cached"] / fastest,
        },
    }


def request(content: bytes, text: str) -> Request:
    """Ask a question about a picture, to be answered in a few words."""
    message = Message("user", text, (load_image(content),))
    return Request((message,), SamplingParams(max_new_tokens=16))


def answer(answerer: Answerer, content: bytes, text: str) -> None:
    """Decode the picture and answer."""
    answerer.answer([request(content, text)])


def show(result: dict[str, Any]) -> None:
    """Print it for people."""
    table = Table("an answer of", "milliseconds", title=f"{result['questions']} questions, medians")
    for name, value in result["milliseconds"].items():
        table.add_row(name, f"{value:.1f}")
    console = Console(highlight=False)
    console.print(table)
    for name, value in result["times_as_fast"].items():
        console.print(f"{name}: {value:.1f} times as fast as {result['generative']}")
    console.print(f"{result['threads']} threads")


if __name__ == "__main__":
    typer.run(main)
