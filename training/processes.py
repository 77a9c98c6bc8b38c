"""One or several processes: `accelerate launch` for GPUs, `torchrun` for CPUs too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState

from training.settings import RunSettings
from vqa.devices import device_named
from vqa.errors import InputError
from vqa.files import lock


def on_cpu(settings: RunSettings) -> bool:
    """Whether the training runs on the CPU: as it is told, or for want of anything else.

    Raises InputError where this machine has no such device.
    """
    there = device_named("auto").type
    # "cuda" is not tried where it is there: each process would take room on the first GPU
    if settings.device not in ("auto", "cpu", there):
        device_named(settings.device)
    return "cpu" in (settings.device, there)


def device_of(settings: RunSettings) -> torch.device:
    """The device of this process; each process of a run has one of its own."""
    return torch.device("cpu") if on_cpu(settings) else torch.device(PartialState().device)


def join(settings: RunSettings) -> None:
    """Join the other processes of this run; to be called before anything asks how many there are.

    The first to ask decides for the whole process, and without a word about the CPU it is alone.
    Raises InputError where this machine has no such device, or the launcher takes another one.
    """
    # the others wait while the first one computes features, which may take hours
    PartialState(cpu=on_cpu(settings), timeout=timedelta(days=7))
    taken = PartialState().device.type
    if settings.device not in ("auto", "cpu", taken):
        raise InputError(
            f"device={settings.device}: the processes of this run are on {taken}; start it without "
            "what says so (ACCELERATE_USE_CPU, a config of accelerate)"
        )


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Keep other trainings from writing into the same directory; InputError where one does."""
    busy = f"output={output}: another training writes there: wait for its end, or give another one"
    first = os.environ.get("RANK", "0") == "0"
    with lock(output, busy) if first else nullcontext():
        yield


def leave() -> None:
    """Take leave of the other processes, once all have done their part.

    A thread of gloo that outlives the interpreter aborts the process, and a run that went well
    would be told as failed.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
