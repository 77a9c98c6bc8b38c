"""Standard streams that are closed, or that nobody reads: no failure of what a command does.

A closed one is taken by the next file that is opened, so that a stray message of a library ends in
the user's data. Output that could not be printed fails the command, as GNU's programs do; messages
that nobody reads change nothing.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, cast

_closed: list[int] = []


def occupy_closed() -> None:
    """Open the null device in place of closed ones of the first three descriptors, before all else.

    Reading from standard input, and printing to standard output, then fail as they should.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            _open_null(number, flags)
            _closed.append(number)
    sys.stdout = _stream(_Output(1, "w", closefd=False), sys.stdout, "strict")
    sys.stderr = _stream(_Messages(2, "w", closefd=False), sys.stderr, "backslashreplace")


def prepare_exec() -> None:
    """Give a program that takes the place of this one (exec) streams that it can write to."""
    for number in _closed:
        _open_null(number, os.O_RDONLY if number == 0 else os.O_WRONLY)


def discard_output() -> None:
    """Discard what could not be printed, or it would fail once more when the process ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        _open_null(sys.stdout.fileno(), os.O_WRONLY)


class _Output(io.FileIO):
    """Standard output: an error names it."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            error.filename = "standard output"
            raise


class _Messages(io.FileIO):
    """Standard error: what nobody reads is no error."""

    def write(self, data: Any, /) -> int:
        size: int = memoryview(data).nbytes
        try:
            return super().write(data) or size
        except OSError:
            return size


def _stream(raw: io.FileIO, before: Any, errors: str) -> io.TextIOWrapper:
    """Make a text stream on `raw` like the one that Python has made, if it has made any."""
    unbuffered = getattr(before, "write_through", False)
    return io.TextIOWrapper(
        cast("Any", raw) if unbuffered else io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors=getattr(before, "errors", None) or errors,
        line_buffering=raw.isatty() or errors == "backslashreplace",
        write_through=unbuffered,
    )


def _open_null(number: int, flags: int) -> None:
    null = os.open(os.devnull, flags)
    if null == number:
        os.set_inheritable(number, True)
        return
    os.dup2(null, number)
    os.close(null)
