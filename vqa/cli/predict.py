"""`vqa predict`: answer a file of questions. `vqa merge-predictions`: put its shards together."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vqa.cli import options
from vqa.errors import InputError, VQAError

if TYPE_CHECKING:
    from vqa.answering import Answerer
    from vqa.data.rows import BadRow
    from vqa.evaluation.pictures import Condition
    from vqa.evaluation.predict import Outcome

Backend = Literal["local", "openai"]
_KEPT = 256 << 20  # bytes of keys and values: questions about a picture come one after the other


def predict(
    data: options.DataFile,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the predictions go (JSONL).")],
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Root of the rows' pictures; default: the data's folder."),
    ] = None,
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
    blind: Annotated[bool, typer.Option("--blind", help="Ask about blank pictures.")] = False,
    swap: Annotated[bool, typer.Option("--swap", help="Ask about another row's picture.")] = False,
    choices: Annotated[
        bool, typer.Option("--choices", help="Score the texts in the column choices.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered at once.")] = 32,
    shard: Annotated[
        str | None, typer.Option(metavar="i/n", help="Answer only the i-th of n parts.")
    ] = None,
    max_errors: Annotated[
        int, typer.Option(metavar="N", min=0, help="Exit with 1 where more rows fail.")
    ] = 0,
    max_new_tokens: options.MaxNewTokens = 64,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
) -> None:
    """Answer every row of a file; interrupted, the same command goes on where it stopped."""
    team = _team()
    _check(blind, swap, shard, team is not None)
    _check_backend(backend, base_url, choices, adapter, device, dtype, quantize)
    from vqa.answering import Settings
    from vqa.data.identity import sha256
    from vqa.evaluation.predict import predict as run
    from vqa.evaluation.predict import run_fingerprint
    from vqa.evaluation.rows import asked_rows
    from vqa.evaluation.shards import parse

    piece = parse(shard) if shard else (1, 1)

    def bad(row: BadRow) -> None:
        if not team or team.main:
            typer.echo(f"vqa: {data}:{row.line}: {row.reason}", err=True)

    rows = asked_rows(data, images, choices=choices, bad=bad)
    settings = Settings(max_new_tokens=max_new_tokens)
    condition: Condition = "blind" if blind else "swap" if swap else "seen"
    if backend == "openai":
        answerer, identity = _remote(base_url or "", model, concurrency)
        batch_size = max(batch_size, concurrency)
        about: dict[str, Any] = {"model": model or answerer.name}
    else:
        model = model or "embedded"
        device = team.device() if team and device == "auto" else device
        answerer, identity, used = _load(model, adapter, device, dtype, quantize, batch_size)
        about = {"model": model, "adapter": adapter}
        about["settings"] = {"dtype": used, "quantize": quantize}
    about |= {"backend": backend, "data": {"file": str(data), "sha256": sha256(data)}}
    go = partial(
        run, answerer, rows.examples, settings=settings, identity=identity, condition=condition,
        choices=choices, batch_size=batch_size, failed=rows.failed, about=about,
    )  # fmt: skip
    outcome: Outcome | None
    try:
        if team is None:
            outcome = _alone(go, answerer.name, out, piece)
        else:
            prefix = run_fingerprint(identity, condition, settings, choices)
            outcome = _together(go, answerer.name, out, rows.ids, team, prefix)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; the same command goes on, {out} keeps what is done", err=True)
        raise typer.Exit(130) from None
    except InputError:
        raise
    except VQAError as error:
        raise VQAError(f"{error} ({out} keeps what is done; the same command goes on)") from error
    if outcome is not None:
        _tell(outcome, out, rows.unnamed if piece[0] == 1 else 0, max_errors)


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

    for example in read(data, need_answers=False, need_images=False, bad=bad):
        ids.append(example.id)
    count, errors = merge(shards, out, ids, data)
    typer.echo(f"{out}: {count} rows, {errors} errors", err=True)


def _check(blind: bool, swap: bool, shard: str | None, team: bool) -> None:
    if blind and swap:
        raise InputError("--blind and --swap exclude each other; run the command twice")
    if team and shard:
        raise InputError("--shard is for single processes: those of accelerate part the rows")


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


def _load(
    model: str,
    adapter: str | None,
    device: str,
    dtype: str,
    quantize: Literal["4bit", "8bit"] | None,
    batch_size: int,
) -> tuple[Answerer, str, str]:
    """The model ready to answer, what its answers depend on, and its type."""
    options.quiet_loading()
    from vqa import checkpoints
    from vqa.fusion import is_fusion

    if is_fusion(model):
        from vqa.fusion.answerer import FusionAnswerer

        fusion = options.load_fusion(model, adapter, device, dtype, quantize)
        return FusionAnswerer(fusion, max_batch=batch_size), fusion.fingerprint, "float32"
    from vqa.engine import LocalEngine

    loaded = checkpoints.load(model, adapter=adapter, device=device, dtype=dtype, quantize=quantize)
    used = str(loaded.model.dtype)
    engine = LocalEngine(loaded, max_batch=batch_size, prefix_bytes=_KEPT)
    return engine, loaded.identity, used.removeprefix("torch.")


def _remote(base_url: str, model: str | None, concurrency: int) -> tuple[Answerer, str]:
    """The endpoint, and what its answers depend on as far as one can tell."""
    from vqa import fingerprint
    from vqa.remote import RemoteAnswerer

    key = os.environ.get("OPENAI_API_KEY")
    answerer = RemoteAnswerer(base_url, model, api_key=key, concurrency=concurrency)
    return answerer, fingerprint.of_json([base_url.rstrip("/"), answerer.name])


def _alone(go: Callable[..., Outcome], name: str, out: Path, piece: tuple[int, int]) -> Outcome:
    from vqa.cli.progress import shown

    with shown(name) as tell:
        return go(out, shard=piece, progress=tell)


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
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return _Team(int(os.environ["RANK"]), count) if count > 1 and "RANK" in os.environ else None


def _together(
    go: Callable[..., Outcome],
    name: str,
    out: Path,
    ids: list[str | int],
    team: _Team,
    run: str,
) -> Outcome | None:
    """Each process writes a part beside `out`; the main one puts them together and has an outcome.

    What earlier runs have answered, with however many processes, is taken over from `out`.
    """
    from datetime import timedelta

    from torch import distributed

    from vqa.cli.progress import shown
    from vqa.evaluation.predict import Outcome, refuse_foreign
    from vqa.evaluation.shards import beside, gather, merge, remove_parts

    # gloo: processes only wait for each other, some for hours, and need no device for that
    distributed.init_process_group("gloo", timeout=timedelta(days=30))
    parts = [beside(out, number + 1, team.count) for number in range(team.count)]
    mine = {"shard": (team.number + 1, team.count), "sources": [out]}
    outcome = None
    try:
        if team.main:
            refuse_foreign(out, set(ids), set(ids))
            gather(out, run)
        distributed.barrier()
        if team.main:
            with shown(f"{name}, process 1 of {team.count}") as tell:
                go(parts[team.number], **mine, progress=tell)
        else:
            go(parts[team.number], **mine)
        distributed.barrier()
        if team.main:
            total, errors = merge(parts, out, ids)
            remove_parts(out)
            outcome = Outcome(total - errors, errors, 0)
        distributed.barrier()  # a thread of gloo that outlives the others aborts its process
    finally:
        distributed.destroy_process_group()
    return outcome


def _tell(outcome: Outcome, out: Path, unnamed: int, max_errors: int) -> None:
    errors = outcome.errors + unnamed
    kept = f", {outcome.kept} kept from before" if outcome.kept else ""
    typer.echo(f"{out}: {outcome.answered} answered{kept}, {errors} errors", err=True)
    if errors > max_errors:
        elsewhere = f"; {unnamed} of them, told above, have no id of their own" if unnamed else ""
        raise VQAError(f"{errors} rows could not be answered; they say why in {out}{elsewhere}")
