"""Run a `vqa` command on a planted input: one line, the right exit code, little time and memory.

A row is a `Case`: how it is planted into an empty directory, and what the command must say. Rows
stand in a module of their own for each kind of input (`models.py`, `replies.py`), in a list.
`python -m tests.hostile` plants and runs them all and prints a table.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.cli.run import environment

SECONDS = 10.0  # of the processor; a busy machine may take longer by the clock
MEMORY = 1536 << 20  # bytes, of the command and what it starts
_BY_THE_CLOCK = 400.0
_LOOK = 0.02  # seconds between looks at the memory


@dataclass(frozen=True)
class Command:
    """What is run: arguments of `vqa`, and what it finds around it."""

    arguments: Sequence[str | Path]
    stdin: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One row. `plant` writes the input into a directory and gives the command to run there.

    `says` is a regular expression for the line on standard error, or for what the command has
    written into `writes` (`vqa predict` has one line of its tally before it). With `code` 0 the
    command must succeed, and may say anything. What `plant` needs while the command runs (a server,
    an open socket) it enters into the stack.
    """

    name: str
    plant: Callable[[Path, ExitStack], Command]
    says: str = ""
    code: int = 2
    writes: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float  # of the processor
    clock: float
    peak: int  # bytes, of the command and its children together


def run(command: Command, directory: Path) -> Outcome:
    """Run `vqa` in a process of its own, and end it where it takes too much."""
    # files, not pipes: a command that writes for ever shall not wait for its reader
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "vqa", *map(str, command.arguments)],
            cwd=directory,
            env=environment({"HF_HUB_OFFLINE": "1", **command.environment}),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            text=True,
        )
        assert process.stdin is not None
        threading.Thread(target=_write, args=(process, command.stdin), daemon=True).start()
        peak, seconds = _watch(process, began)
        clock = time.monotonic() - began
        for file in (out, err):
            file.seek(0)
        return Outcome(process.wait(), out.read(), err.read(), seconds, clock, peak)


def check(case: Case, directory: Path) -> Outcome:
    """Plant and run a case; AssertionError where it does not end as it must."""
    with ExitStack() as stack:
        outcome = run(case.plant(directory, stack), directory)
    assert_ended_well(case, directory, outcome.code, outcome.out, outcome.err)
    assert outcome.seconds < SECONDS, outcome
    assert outcome.peak < MEMORY, outcome
    return outcome


def assert_ended_well(case: Case, directory: Path, code: int, out: str, err: str) -> None:
    """Check exit code and the line on standard error."""
    assert code == case.code, (code, out[-500:], err[-2000:])
    assert "Traceback" not in err, err[-2000:]
    if not case.code:
        return
    assert out == "", out[-500:]
    *before, line = err.splitlines()
    written = directory / (case.writes or "nothing")
    logged = written.read_text(encoding="utf-8") if written.is_file() else ""
    assert line.startswith("vqa: ") and len(before) == bool(logged), err[-2000:]
    assert len(err) < 1200 and all(each.isprintable() for each in (line, *before)), err
    assert re.search(case.says, line + logged), line + logged[:2000]


@contextmanager
def planted(case: Case, directory: Path) -> Iterator[Command]:
    """Plant a case, for a test that runs the command in its own process."""
    with ExitStack() as stack:
        yield case.plant(directory, stack)


def _write(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(text)
        process.stdin.close()


def _watch(process: subprocess.Popen[str], began: float) -> tuple[int, float]:
    """The most memory, and the processor's time, of a process and its children."""
    peak, seconds = 0, 0.0
    top = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error, OSError):
            alive = [top, *top.children(recursive=True)]
            memory = sum(_memory(each) for each in alive)
            peak = max(peak, memory)
            times = [each.cpu_times() for each in alive]
            seconds = max(seconds, sum(used.user + used.system for used in times))
        late = time.monotonic() - began > _BY_THE_CLOCK
        if peak > MEMORY or seconds > 2 * SECONDS or late:
            for each in [*top.children(recursive=True), top]:
                with contextlib.suppress(psutil.Error):
                    each.kill()
        time.sleep(_LOOK)
    return peak, seconds


def _memory(process: psutil.Process) -> int:
    """Bytes that are a process's own: files that it has mapped do not count."""
    with contextlib.suppress(psutil.Error):
        info = process.memory_info()
        return int(info.rss - getattr(info, "shared", 0))
    return 0


def table(cases: Sequence[Case]) -> int:
    """Run all cases and print how each ended; the number of those that ended badly."""
    bad = 0
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = check(case, Path(folder))
                text = f"{outcome.seconds:5.1f} s  {outcome.peak / 1e6:6.0f} MB  {outcome.code}  "
                print(f"{case.name:40} {text} {outcome.err.strip()[:140]}", flush=True)
            except AssertionError as error:
                bad += 1
                print(f"{case.name:40} BAD: {str(error)[:600]}", flush=True)
    return bad
