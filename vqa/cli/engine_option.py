"""`--engine`: the rows are answered in this process, or by workers on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqa.errors import InputError

if TYPE_CHECKING:
    from vqa.answering import Answerer
    from vqa.evaluation.ray_workers import RayWorkers

    Loaded = tuple[Answerer, str, str | None]  # with its identity, and the type of its weights

Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Answer in this process, or by workers on a Ray cluster."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Of --engine ray; by default one for each GPU, else machine."
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="A cluster that runs, by default RAY_ADDRESS; without, one of this machine alone.",
    ),
]


def check(
    engine: Literal["local", "ray"], workers: int | None, address: str | None, device: str
) -> None:
    """Raise InputError for options that do not fit, before anything is loaded."""
    if engine == "local" and (workers is not None or address is not None):
        raise InputError("--workers and --ray-address are for --engine ray")
    if engine == "ray" and ":" in device:
        raise InputError(f"--device {device}: a worker of --engine ray has one GPU, so cuda")


@contextmanager
def answering(
    load: Callable[[], Loaded],
    engine: Literal["local", "ray"],
    workers: int | None,
    address: str | None,
    gpus: bool,
    needed: Path,
) -> Iterator[tuple[Answerer | RayWorkers, str, str | None]]:
    """Load the model here, or in workers; yield what answers, its identity and its type."""
    if engine == "local":
        yield load()
        return
    from vqa.evaluation.ray_workers import ray_workers

    def notice(text: str) -> None:
        typer.echo(f"vqa: {text}", err=True)

    with ray_workers(
        load, workers=workers, address=address, gpus=gpus, needed=needed, notice=notice
    ) as pool:
        yield pool, pool.identity, pool.dtype
