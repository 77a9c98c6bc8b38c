"""How long a call takes, once it has been tried."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_TIMED = 2  # calls


def timed(call: Callable[[], object]) -> float:
    """Measure the seconds of one call, the first not counted."""
    call()
    _synchronize()
    start = time.perf_counter()
    for _ in range(_TIMED):
        call()
    _synchronize()
    return (time.perf_counter() - start) / _TIMED


def _synchronize() -> None:
    """Wait for the accelerator, which computes while the program goes on."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
