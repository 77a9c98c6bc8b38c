"""A Ray cluster, which runs already or is started here, and how many workers it has room for."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

from vqa.errors import InputError
from vqa.utils.console import one_line

_REACHABLE = 10.0  # seconds in which a cluster takes a connection
_OBJECT_STORE = 100 << 20  # bytes; rows are small


@dataclass(frozen=True)
class WorkerShare:
    """How many workers a run has, and what each of them gets."""

    workers: int
    cpus: int
    gpus: int


@contextmanager
def ray_cluster(address: str | None, workers: int | None) -> Iterator[Any]:
    """Connect to the cluster at `address`, or start one here; yield the library.

    `address` is a cluster's `HOST:PORT`, or `auto` for the one that this machine belongs to; else
    RAY_ADDRESS counts. A cluster that is started here ends with the block, or with this process;
    it listens to this machine alone, has no dashboard, and at least as many places as `workers`.

    Raises InputError where Ray is not installed, or no cluster answers.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    running = address not in ("local", "auto")
    if "://" in address or (running and not re.fullmatch(r".+:\d+", address)):
        raise InputError(
            f"`ray_address` {address}: give HOST:PORT or auto, on a machine of the cluster"
        )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == "local":
        # read at the import: everything listens to 127.0.0.1, as on Windows and macOS
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InputError(f"`engine` ray needs {error.name}: pip install 'vqa[ray]'") from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if running:
        _refuse_unreachable(address)
    with ExitStack() as stack:
        if address == "local":
            folder = tempfile.TemporaryDirectory(prefix="vqa-ray-", ignore_cleanup_errors=True)
            options |= {
                "num_cpus": max(os.cpu_count() or 1, workers or 1), "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE, "_temp_dir": stack.enter_context(folder),
            }  # fmt: skip
        stack.callback(ray.shutdown)
        try:
            with _own_handlers():
                ray.init(address, **options)
        except (OSError, RuntimeError, ValueError) as error:
            reason = one_line(error, 300)
            raise InputError(f"`ray_address` {address}: no such cluster ({reason})") from error
        yield ray


def _refuse_unreachable(address: str) -> None:
    """Raise InputError where nothing listens at HOST:PORT: Ray asks there for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHABLE).close()
    except (OSError, OverflowError) as error:
        reason = one_line(error, 300)
        raise InputError(f"`ray_address` {address}: no such cluster ({reason})") from error


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Put the handlers of signals back at the end: Ray's ends the process at SIGTERM."""
    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # not set from Python
                signal.signal(number, handler)


def share_out(nodes: Sequence[dict[str, Any]], workers: int | None, gpus: bool) -> WorkerShare:
    """Part the machines of a cluster (`ray.nodes()`) among workers.

    By default there is a worker for each GPU, or where there is none, or `gpus` are not wanted, for
    each machine: torch computes on all of its cores. Raises InputError where not so many fit.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    machines = [each for each in resources if each.get("CPU", 0) >= 1]
    with_gpu = [each for each in machines if each.get("GPU", 0) >= 1]
    gpus = gpus and bool(with_gpu)
    if gpus:
        machines = with_gpu
    room = [int(min(each["CPU"], each["GPU"] if gpus else each["CPU"])) for each in machines]
    count = workers or (sum(room) if gpus else len(machines))
    if not 1 <= count <= sum(room):
        what = "GPUs" if gpus else "CPUs"
        raise InputError(f"`workers` {count}: the cluster has {sum(room)} {what}, one for each")
    most = room if gpus else [ceil(count / len(machines))] * len(machines)
    cpus = min(int(each["CPU"]) // here for each, here in zip(machines, most, strict=True))
    return WorkerShare(count, max(1, cpus), int(gpus))
