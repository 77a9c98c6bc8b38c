"""What every hostile input is held to: a good result or one line, in little time and memory."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import psutil
import pytest
from hypothesis import settings

from vqa.errors import VQAError

Test = TypeVar("Test", bound=Callable[..., Any])

SECONDS = 10.0  # of the processor, by all threads; a busy machine may take longer by the clock
MEMORY = 1 << 30  # bytes more than before
LONGEST_LINE = 3000  # characters; ten bad rows stand in one line
_STATUS = Path("/proc/self/status")
_FORGET = Path("/proc/self/clear_refs")  # a 5 sets the peak back to what is held now
_HERE = psutil.Process()


def fuzz(test: Test) -> Test:
    """Mark a property test whose number of examples `--fuzz-examples` says."""
    marked: Test = pytest.mark.fuzz(settings(settings.get_profile("fuzz"))(test))
    return marked


class TookTooLong(BaseException):
    """Not an Exception: no `except` of what is tested takes it for an error of the input."""


@dataclass
class Spent:
    """What one test took: an input may be tried in several ways."""

    tries: int = 0
    refused: int = 0
    clock: float = 0.0
    longest: float = 0.0  # of the processor, one try
    peak: int = 0  # bytes of the process
    most: int = 0  # bytes more than before, one try

    def __str__(self) -> str:
        return (
            f"{self.tries} tries, {self.refused} refused, {self.clock:.0f} s; one took at most "
            f"{self.longest:.2f} s of the processor and {self.most / 1e6:.0f} MB; peak of the "
            f"process {self.peak / 1e6:.0f} MB"
        )


@dataclass
class Refusal:
    """The line with which an input was refused; empty where it was not."""

    text: str = ""


SPENT: dict[str, Spent] = {}  # by test


@contextmanager
def held() -> Iterator[Refusal]:
    """Let the block end well or with a VQAError in one line; AssertionError for all else.

    Nothing but VQAError is caught: what else the block raises fails the test by itself.
    """
    spent = SPENT.setdefault(os.environ.get("PYTEST_CURRENT_TEST", "?").rpartition(" ")[0], Spent())
    before = _forget_peak()
    began, clock = time.process_time(), time.monotonic()
    refusal = Refusal()
    refused = False
    with warnings.catch_warnings(), _stopped_after(2 * SECONDS):
        warnings.simplefilter("ignore")
        try:
            yield refusal
        except VQAError as error:
            refusal.text, refused = str(error), True
    seconds = time.process_time() - began
    peak = _peak()
    spent.tries += 1
    spent.refused += refused
    spent.clock += time.monotonic() - clock
    spent.longest = max(spent.longest, seconds)
    spent.peak = max(spent.peak, peak)
    spent.most = max(spent.most, peak - before)
    if refused:
        assert_one_line(refusal.text)
    assert seconds < SECONDS, f"{seconds:.1f} s of the processor"
    assert peak - before < MEMORY, f"{peak - before:,} bytes"


def assert_one_line(text: str) -> None:
    """Check that a message is one line that a terminal can print."""
    assert text, "an empty message"
    assert text.isprintable(), ascii(text)[:3000]
    assert len(text) <= LONGEST_LINE, (len(text), text[:300])


@contextmanager
def _stopped_after(seconds: float) -> Iterator[None]:
    """Raise TookTooLong after so much processor time, where Python can be stopped."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"more than {seconds} s of the processor")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _forget_peak() -> int:
    """Begin to measure the peak anew, where the system can; bytes that are held now."""
    with contextlib.suppress(OSError):
        _FORGET.write_text("5")
    return int(_HERE.memory_info().rss)


def _peak() -> int:
    """The most bytes that the process has held since then, or in all its time."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return int(_HERE.memory_info().rss)
