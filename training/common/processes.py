"""One or several processes: `accelerate launch` for GPUs, `torchrun` for CPUs too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState

from training.common.settings import RunSettings
from vqa.errors import InputError
from vqa.models.devices import device_named
from vqa.utils.files import lock
from vqa.utils.stopping import is_main


def on_cpu(settings: RunSettings) -> bool:
    """Return whether the training runs on the CPU: as is set, or for want of anything else.

    Raises InputError where this machine has no such device.
    """
    default = device_named("auto").type
    # "cuda" is not tried where it is the default: each process would take room on the first GPU
    if settings.device not in ("auto", "cpu", default):
        device_named(settings.device)
    return "cpu" in (settings.device, default)


def device_of(settings: RunSettings) -> torch.device:
    """Choose the device of this process; each process of a run has one of its own."""
    return torch.device("cpu") if on_cpu(settings) else torch.device(PartialState().device)


def join_processes(settings: RunSettings) -> None:
    """Join the other processes of this run; to be called before anything asks how many there are.

    The first `PartialState` decides for the whole process: it has to know that this is on the CPU.
    Raises InputError where this machine has no such device, or the launcher takes another one.
    """
    # the others wait while the first one computes features, which may take hours
    PartialState(cpu=on_cpu(settings), timeout=timedelta(days=7))
    device = PartialState().device.type
    if settings.device not in ("auto", "cpu", device):
        raise InputError(
            f"device={settings.device}: the processes of this run are on {device}; start it "
            "without what says so (ACCELERATE_USE_CPU, a config of accelerate)"
        )


@contextmanager
def refuse_second_training(output: Path) -> Iterator[None]:
    """Lock `output` against other trainings; raise InputError where one writes there."""
    busy = f"output={output}: another training writes there: wait for its end, or give another one"
    with lock(output, busy) if is_main() else nullcontext():
        yield


def shutdown_distributed() -> None:
    """End torch.distributed, once all processes have done their part.

    A thread of gloo that outlives the interpreter aborts the process, and a run that went well
    would end as a failed one.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
