"""`vqa predict`: answer a file of questions. `vqa merge-predictions`: put its shards together."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vqa.cli import engine_option, options
from vqa.cli.output import notices
from vqa.errors import InputError, VQAError
from vqa.utils.progress import progress_bar
from vqa.utils.stopping import resumable

if TYPE_CHECKING:
    from vqa.answering import Answerer
    from vqa.data.row_reader import BadRow, Notice
    from vqa.evaluation.picture_conditions import Condition
    from vqa.evaluation.predicting import PredictionCounts
    from vqa.reading import ReadMode

Backend = Literal["local", "openai"]
_PREFIX_BYTES = 256 << 20  # of keys and values: questions about a picture come one by one


def predict(
    data: options.DataFile,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the predictions go (JSONL).")],
    images: options.Images = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="embedded (the default), a model's or run's directory, or a hub id; with "
            "--backend openai, what the endpoint calls it.",
        ),
    ] = None,
    adapter: options.Adapter = None,
    backend: Annotated[
        Backend, typer.Option(help="Answer here, or send the rows to an OpenAI endpoint.")
    ] = "local",
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The endpoint, as http://host:8000/v1; key: OPENAI_API_KEY."
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="Requests at once to an endpoint.")
    ] = 8,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=1, help="That an endpoint may take for a row, retries included."
        ),
    ] = 600.0,
    blind: Annotated[bool, typer.Option("--blind", help="Ask about blank pictures.")] = False,
    swap: Annotated[bool, typer.Option("--swap", help="Ask about another row's picture.")] = False,
    choices: Annotated[
        bool, typer.Option("--choices", help="Score the texts in the column choices.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered at once.")] = 32,
    engine: engine_option.Engine = "local",
    workers: engine_option.Workers = None,
    ray_address: engine_option.RayAddress = None,
    shard: Annotated[
        str | None, typer.Option(metavar="i/n", help="Answer only the i-th of n parts.")
    ] = None,
    max_errors: Annotated[
        int, typer.Option(metavar="N", min=0, help="Exit with 1 where more rows fail.")
    ] = 0,
    max_new_tokens: options.MaxNewTokens = 64,
    num_beams: options.NumBeams = 1,
    length_penalty: options.LengthPenalty = 1.0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
    read: options.Read = "never",
) -> None:
    """Answer every row of a file; interrupted, the same command goes on where it stopped."""
    from vqa.evaluation.distributed import predict_distributed, process_group_from_environment

    group = process_group_from_environment()
    if blind and swap:
        raise InputError("--blind and --swap exclude each other; run the command twice")
    if group and shard:
        raise InputError("--shard is for single processes: those of accelerate part the rows")
    if group and engine == "ray":
        raise InputError("--engine ray starts its own processes: leave accelerate out")
    if num_beams > 1 and (choices or backend == "openai"):
        raise InputError("--num-beams is for answers that are written here, without --choices")
    _check_backend(backend, base_url, choices, adapter, device, dtype, quantize)
    engine_option.check(engine, workers, ray_address, device)
    from vqa.answering import SamplingParams

    settings = SamplingParams(
        max_new_tokens=max_new_tokens, num_beams=num_beams, length_penalty=length_penalty
    )
    from vqa.data.identity import sha256
    from vqa.evaluation.picture_conditions import OWN_PICTURE
    from vqa.evaluation.predicting import predict as run
    from vqa.evaluation.predicting import run_fingerprint
    from vqa.evaluation.question_rows import read_questions
    from vqa.evaluation.shards import parse_shard

    shard_numbers = parse_shard(shard) if shard else (1, 1)

    def bad(row: BadRow) -> None:
        if group is None or group.is_main:
            typer.echo(f"vqa: {data}:{row.line}: {row.reason}", err=True)

    def notify(notice: Notice) -> None:
        if group is None or group.is_main:
            notices(data)(notice)

    rows = read_questions(data, images, choices=choices, bad=bad, notice=notify)
    condition: Condition = "blind" if blind else "swap" if swap else OWN_PICTURE
    load: Callable[[], tuple[Answerer, str, str | None]]
    if backend == "openai":
        key = os.environ.get("OPENAI_API_KEY")
        load = partial(_remote, base_url or "", model, key, concurrency, timeout, read)
        batch_size = max(batch_size, concurrency)
    else:
        model = model or "embedded"
        device = group.device() if group and device == "auto" else device
        load = partial(_load, model, adapter, device, dtype, quantize, batch_size, read)
    gpus = backend == "local" and device in ("auto", "cuda")
    picture_root = images or data.parent
    outcome: PredictionCounts | None
    with (
        engine_option.answering(load, engine, workers, ray_address, gpus, picture_root) as loaded,
        resumable(f"{out} keeps what is done; the same command goes on"),
    ):
        answerer, identity, used_dtype = loaded
        run_info: dict[str, Any] = {"model": model or answerer.name, "backend": backend}
        if backend == "local":
            run_info["adapter"] = adapter
            run_info["settings"] = {"dtype": used_dtype, "quantize": quantize, "read": read}
        run_info["data"] = {"file": str(data), "sha256": sha256(data)}
        predict_rows = partial(
            run, answerer, rows.examples, settings=settings, identity=identity,
            condition=condition, choices=choices, batch_size=batch_size, failed=rows.failed,
            about=run_info,
        )  # fmt: skip
        if group is None:
            with progress_bar(answerer.name) as tell:
                outcome = predict_rows(out, shard=shard_numbers, progress=tell)
        else:
            run_prefix = run_fingerprint(identity, condition, settings, choices)
            outcome = predict_distributed(
                predict_rows, answerer.name, out, rows.ids, group, run_prefix
            )
    if outcome is not None:
        _report(outcome, out, rows.without_id if shard_numbers[0] == 1 else 0, max_errors)


def merge_predictions(
    shards: Annotated[
        list[Path], typer.Argument(metavar="SHARD", help="What `vqa predict --shard` wrote.")
    ],
    data: options.DataFile,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where all predictions go (JSONL).")],
) -> None:
    """Put the shards of a prediction run together, in the order of the data."""
    from vqa.data import read
    from vqa.evaluation.shards import merge

    options.check_out("--out", out, (data, *shards))
    ids: list[str | int] = []

    def bad(row: BadRow) -> None:
        if row.id is not None:
            ids.append(row.id)

    for example in read(data, need_answers=False, need_images=False, bad=bad, notice=notices(data)):
        ids.append(example.id)
    count, errors = merge(shards, out, ids, data)
    typer.echo(f"{out}: {count} rows, {errors} errors", err=True)


def _check_backend(
    backend: Backend,
    base_url: str | None,
    choices: bool,
    adapter: str | None,
    device: str,
    dtype: str,
    quantize: str | None,
) -> None:
    if backend == "local":
        if base_url:
            raise InputError("--base-url needs --backend openai")
        return
    if not base_url:
        raise InputError("--backend openai needs --base-url, as http://localhost:8000/v1")
    if choices:
        raise InputError("--choices needs a model that runs here: endpoints do not score texts")
    if adapter or quantize or device != "auto" or dtype != "auto":
        raise InputError("--adapter, --device, --dtype, --quantize: for models that run here")


@lru_cache(1)  # `vqa eval` asks the same model the rows of several tasks
def _load(
    model: str,
    adapter: str | None,
    device: str,
    dtype: str,
    quantize: Literal["4bit", "8bit"] | None,
    batch_size: int,
    read: ReadMode,
) -> tuple[Answerer, str, str]:
    """Load the model; return its answerer, what identifies its answers, and its type."""
    from vqa.loading import load

    answerer = load(
        model, adapter, device, dtype, quantize, read,
        max_batch=batch_size, prefix_bytes=_PREFIX_BYTES,
    )  # fmt: skip
    return answerer, answerer.identity, answerer.dtype


def _remote(
    base_url: str,
    model: str | None,
    key: str | None,
    concurrency: int,
    timeout: float,
    read: ReadMode,
) -> tuple[Answerer, str, None]:
    """Return the endpoint, and what identifies its answers as far as can be known."""
    from vqa.loading import text_reader
    from vqa.remote.answerer import RemoteAnswerer
    from vqa.utils import fingerprint

    reader = text_reader(read)
    answerer = RemoteAnswerer(
        base_url, model, api_key=key, concurrency=concurrency, deadline=timeout, reader=reader
    )
    identity = [base_url.rstrip("/"), answerer.name, *([reader.identity] if reader else [])]
    return answerer, fingerprint.of_json(identity), None


def _report(outcome: PredictionCounts, out: Path, unnamed: int, max_errors: int) -> None:
    errors = outcome.errors + unnamed
    reused = f", {outcome.reused} kept from before" if outcome.reused else ""
    typer.echo(f"{out}: {outcome.answered} answered{reused}, {errors} errors", err=True)
    if errors > max_errors:
        elsewhere = f"; {unnamed} of them, told above, have no id of their own" if unnamed else ""
        raise VQAError(f"{errors} rows could not be answered; they say why in {out}{elsewhere}")
