"""`vqa predict`: answer a file of questions. `vqa merge-predictions`: put its shards together."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
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
_KEPT = 256 << 20  # bytes of keys and values: questions about a picture come one after the other


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
    team = _team()
    if blind and swap:
        raise InputError("--blind and --swap exclude each other; run the command twice")
    if team and shard:
        raise InputError("--shard is for single processes: those of accelerate part the rows")
    if team and engine == "ray":
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
    from vqa.evaluation.shards import parse

    piece = parse(shard) if shard else (1, 1)

    def bad(row: BadRow) -> None:
        if not team or team.main:
            typer.echo(f"vqa: {data}:{row.line}: {row.reason}", err=True)

    def notify(notice: Notice) -> None:
        if not team or team.main:
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
        device = team.device() if team and device == "auto" else device
        load = partial(_load, model, adapter, device, dtype, quantize, batch_size, read)
    gpus = backend == "local" and device in ("auto", "cuda")
    needed = images or data.parent
    outcome: PredictionCounts | None
    with (
        engine_option.answering(load, engine, workers, ray_address, gpus, needed) as loaded,
        resumable(f"{out} keeps what is done; the same command goes on"),
    ):
        answerer, identity, used = loaded
        about: dict[str, Any] = {"model": model or answerer.name, "backend": backend}
        if backend == "local":
            about["adapter"] = adapter
            about["settings"] = {"dtype": used, "quantize": quantize, "read": read}
        about["data"] = {"file": str(data), "sha256": sha256(data)}
        go = partial(
            run, answerer, rows.examples, settings=settings, identity=identity,
            condition=condition, choices=choices, batch_size=batch_size, failed=rows.failed,
            about=about,
        )  # fmt: skip
        if team is None:
            with progress_bar(answerer.name) as tell:
                outcome = go(out, shard=piece, progress=tell)
        else:
            prefix = run_fingerprint(identity, condition, settings, choices)
            outcome = _together(go, answerer.name, out, rows.ids, team, prefix)
    if outcome is not None:
        _report(outcome, out, rows.without_id if piece[0] == 1 else 0, max_errors)


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
    from vqa.loading import quiet_loading, text_reader

    quiet_loading()
    from vqa.models.model_files import is_fusion

    reader = text_reader(read)
    if is_fusion(model):
        from vqa.fusion.answerer import FusionAnswerer
        from vqa.loading import load_fusion

        fusion = load_fusion(model, adapter, device, dtype, quantize, reader)
        return FusionAnswerer(fusion, max_batch=batch_size), fusion.fingerprint, "float32"
    from vqa.loading import answerer_of, load_generative

    loaded = load_generative(model, adapter, device, dtype, quantize)
    used = str(loaded.model.dtype)
    answerer = answerer_of(loaded, max_batch=batch_size, prefix_bytes=_KEPT, reader=reader)
    return answerer, answerer.identity, used.removeprefix("torch.")


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


@dataclass(frozen=True)
class _Team:
    """The processes that `accelerate launch` (or torchrun) has started for one command."""

    number: int  # of this process, from 0
    count: int

    @property
    def main(self) -> bool:
        return self.number == 0

    def device(self) -> str:
        import torch

        kind = torch.accelerator.current_accelerator()
        if kind is None or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true"):
            return "cpu"
        return f"{kind.type}:{os.environ.get('LOCAL_RANK', '0')}"


def _team() -> _Team | None:
    try:
        count = int(os.environ.get("WORLD_SIZE", "1"))
        number = int(os.environ.get("RANK", "-1"))
    except ValueError as error:
        raise InputError(f"WORLD_SIZE and RANK are numbers, set by torchrun: {error}") from None
    return _Team(number, count) if count > 1 and number >= 0 else None


def _together(
    go: Callable[..., PredictionCounts],
    name: str,
    out: Path,
    ids: list[str | int],
    team: _Team,
    run: str,
) -> PredictionCounts | None:
    """Answer in several processes, each to a part beside `out`, which the main one merges.

    Rows of earlier runs, with however many processes, stay. Returns the counts in the main one.
    """
    from datetime import timedelta

    from torch import distributed

    from vqa.evaluation.predicting import PredictionCounts, check_output
    from vqa.evaluation.shards import beside, gather, merge, remove_parts

    # gloo: processes only wait for each other, some for hours, and need no device for that
    distributed.init_process_group("gloo", timeout=timedelta(days=30))
    parts = [beside(out, number + 1, team.count) for number in range(team.count)]
    mine = {"shard": (team.number + 1, team.count), "sources": [out]}
    outcome = None
    try:
        if team.main:
            check_output(out, set(ids), set(ids))
            gather(out, run)
        distributed.barrier()
        if team.main:
            with progress_bar(f"{name}, process 1 of {team.count}") as tell:
                go(parts[team.number], **mine, progress=tell)
        else:
            go(parts[team.number], **mine)
        distributed.barrier()
        if team.main:
            total, errors = merge(parts, out, ids)
            remove_parts(out)
            outcome = PredictionCounts(total - errors, errors, 0)
        distributed.barrier()  # a thread of gloo that outlives the others aborts its process
    finally:
        distributed.destroy_process_group()
    return outcome


def _report(outcome: PredictionCounts, out: Path, unnamed: int, max_errors: int) -> None:
    errors = outcome.errors + unnamed
    reused = f", {outcome.reused} kept from before" if outcome.reused else ""
    typer.echo(f"{out}: {outcome.answered} answered{reused}, {errors} errors", err=True)
    if errors > max_errors:
        elsewhere = f"; {unnamed} of them, told above, have no id of their own" if unnamed else ""
        raise VQAError(f"{errors} rows could not be answered; they say why in {out}{elsewhere}")
