"""Other processes of this machine, known by their number."""

from __future__ import annotations

import psutil

_CLOCK = 2.0  # seconds that the beginning of a process is told differently as clocks are set


def lives_since(process: int, moment: float) -> bool:
    """Whether a process lives and did at that time (seconds since 1970).

    After its end, or a reboot, its number may be that of a later process.
    """
    try:
        return psutil.Process(process).create_time() < moment + _CLOCK
    except psutil.Error:
        return False
