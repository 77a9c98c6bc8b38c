"""Speed of answers, beside plain transformers and beside the limits of the machine.

    python benchmarks/inference.py                      the embedded model, photos of scikit-image
    python benchmarks/inference.py --model DIR --data QUESTIONS.jsonl --images DIR

Everything in one run on the same weights, type, threads and machine. Engine and `generate()` take
turns, and the medians are compared: where other programs run beside it, trust the ratios only.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import timing
import torch
import typer
from agreement import agreement, requests_from
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from vqa.engine import LocalEngine
from vqa.errors import VQAError
from vqa.inputs.images import load_image
from vqa.models.checkpoints import LoadedModel, load

EXAMPLE = Path(__file__).parents[1] / "examples" / "cat.jpg"


def main(
    model: Annotated[str, typer.Option(help="As for `vqa ask`.")] = "embedded",
    data: Annotated[Path | None, typer.Option(help="JSONL of questions to compare on.")] = None,
    images: Annotated[Path | None, typer.Option(help="Where the pictures of --data are.")] = None,
    picture: Annotated[Path, typer.Option(help="The picture of all timings.")] = EXAMPLE,
    questions: Annotated[int, typer.Option(help="How many to compare, 0 for none.")] = 200,
    new_tokens: Annotated[int, typer.Option(min=2, help="Tokens of each timed answer.")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each timing.")] = 5,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: str = "auto",
    dtype: str = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no table.")] = False,
) -> None:
    """Measure and print."""
    disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        loaded = load(model, device=device, dtype=dtype)
        result: dict[str, Any] = {}
        if loaded.classifier is not None:
            result["short_answer"] = timing.short_answers(loaded, load_image(picture), repeats)
        # without names before the questions: `generate()` has none
        result |= measure(replace(loaded, classifier=None), picture, new_tokens, repeats)
        result["model"] = model
        options = ["--device", device, "--dtype", dtype]
        result["cold_start"] = timing.cold_start(picture, model, options, min(repeats, 3))
        if questions:
            fresh = load(model, device=device, dtype=dtype)  # whose answers end
            requests = requests_from(data, images, questions)
            result["agreement"] = agreement(LocalEngine(fresh), requests)
    except VQAError as error:
        raise SystemExit(f"inference.py: {error}") from error
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        show(result)


def measure(loaded: LoadedModel, picture: Path, new_tokens: int, repeats: int) -> dict[str, Any]:
    """Time the engine beside `generate()` on one picture."""
    opened = load_image(picture)
    engine = timing.endless(loaded)()
    first = timing.question(timing.FIRST, [opened], new_tokens)
    second = timing.question(timing.SECOND, [opened], new_tokens)
    before = engine.stats.prefilled_tokens
    engine.answer([first])
    middle = engine.stats.prefilled_tokens
    engine.answer([second])
    new = engine.stats.prefilled_tokens - middle
    length = timing.prompt_length(loaded, second)
    as_new = timing.text_of_length(loaded, new, new_tokens)
    as_long = timing.text_of_length(loaded, length, new_tokens)
    runs: dict[str, list[Any]] = {}

    def note(name: str, run: Any) -> None:
        runs.setdefault(name, []).append(run)

    encoder = []
    for number in range(repeats + 1):
        if number == 1:  # the first round warms up
            runs.clear()
            encoder.clear()
        engine.clear_caches()
        note("first", timing.engine_run(engine, first))
        note("second", timing.engine_run(engine, second))
        note("generate", timing.generate_run(loaded, first))
        note("generate_second", timing.generate_run(loaded, second))
        for name, request in (("text_as_new", as_new), ("text_as_long", as_long)):
            engine.clear_caches()
            note(name, timing.engine_run(engine, request))
        encoder.append(timing.encoder_seconds(engine, opened))
    median = {name: timing.median_run(values) for name, values in runs.items()}
    rate, plain = median["first"].tokens_per_second, median["generate"].tokens_per_second
    second_first = median["second"].first_token
    weights = timing.weight_bytes_per_token(loaded)
    bandwidth = timing.memory_bandwidth(loaded.model.device)
    return {
        "device": str(loaded.model.device),
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "tokens": {
            "first_prompt": middle - before,
            "second_prompt": length,
            "second_new": new,
            "text_as_new": timing.prompt_length(loaded, as_new),
            "text_as_long": timing.prompt_length(loaded, as_long),
            "answer": new_tokens,
        },
        "encoder": statistics.median(encoder),
        "first_token": {name: run.first_token for name, run in median.items()},
        "tokens_per_second": {
            "engine": rate,
            "generate": plain,
            "bandwidth_limit": bandwidth / weights,
        },
        "weight_bytes_per_token": weights,
        "memory_bytes_per_second": bandwidth,
        "ratios": {
            "decoding_engine_to_generate": rate / plain,
            "decoding_engine_to_limit": rate * weights / bandwidth,
            "first_token_engine_to_generate": median["first"].first_token
            / median["generate"].first_token,
            "second_question_to_first": second_first / median["first"].first_token,
            "second_question_to_generate": second_first / median["generate_second"].first_token,
            "second_question_to_text_of_its_new_tokens": second_first
            / median["text_as_new"].first_token,
            "second_question_to_text_as_long": second_first / median["text_as_long"].first_token,
        },
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    tokens, first, rate = result["tokens"], result["first_token"], result["tokens_per_second"]
    ratio = result["ratios"]
    table = Table(
        title=f"{result['model']}: {result['dtype']}, {result['device']}, "
        f"{result['threads']} threads"
    )
    table.add_column("")
    for column in ("here", "beside", "ratio"):
        table.add_column(column, justify="right")

    def row(name: str, here: str, beside: str = "", value: float | None = None) -> None:
        table.add_row(name, here, beside, "" if value is None else f"{value:.2f}")

    def ms(seconds: float) -> str:
        return f"{seconds * 1000:.0f} ms"

    cold = result["cold_start"]
    row("vqa ask, process start to first token", f"{cold['first_token']:.1f} s")
    row("vqa ask, in all", f"{cold['total']:.1f} s")
    row("encoder, one picture", ms(result["encoder"]))
    engine, plain, limit = (rate[name] for name in ("engine", "generate", "bandwidth_limit"))
    by_plain = ratio["decoding_engine_to_generate"]
    row("tokens a second, beside generate()", f"{engine:.1f}", f"{plain:.1f}", by_plain)
    by_limit = ratio["decoding_engine_to_limit"]
    row("... beside the memory's limit", f"{engine:.1f}", f"{limit:.0f}", by_limit)
    row(
        f"first token of {tokens['first_prompt']} tokens, beside generate()",
        ms(first["first"]),
        ms(first["generate"]),
        ratio["first_token_engine_to_generate"],
    )
    second = ms(first["second"])
    name = f"second question, {tokens['second_new']} of {tokens['second_prompt']} tokens new"
    row(f"{name}, beside the first", second, ms(first["first"]), ratio["second_question_to_first"])
    row(
        "... beside generate()",
        second,
        ms(first["generate_second"]),
        ratio["second_question_to_generate"],
    )
    row(
        f"... beside a text-only prompt of {tokens['text_as_new']}",
        second,
        ms(first["text_as_new"]),
        ratio["second_question_to_text_of_its_new_tokens"],
    )
    row(
        f"... beside a text-only prompt of {tokens['text_as_long']}",
        second,
        ms(first["text_as_long"]),
        ratio["second_question_to_text_as_long"],
    )
    short = result.get("short_answer")
    if short:
        took, plain = short["with_names"], short["without"]
        name = "a one-word answer with the encoder's names, beside without"
        row(name, ms(took), ms(plain), took / plain)
    counts = result.get("agreement")
    if counts:
        count = counts["questions"]
        for name, key in (
            ("answers in a batch as alone", "batched_as_single"),
            ("answers on cached keys and values as fresh", "reused_as_fresh"),
        ):
            row(name, str(counts[key]), str(count), counts[key] / count)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
