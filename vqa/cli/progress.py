"""Progress of a long command on stderr: a bar in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

_EVERY = 30.0  # seconds between two lines

Tell = Callable[[int, int | None], None]


@contextmanager
def shown(name: str, things: str = "rows") -> Iterator[Tell]:
    """Yield a function that takes how many things are done and how many there are, if known."""
    if not sys.stderr.isatty():
        yield _lines(name, things)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f} {things}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(name: str, things: str) -> Tell:
    """Print a line every half minute. The rate is that since the last line."""
    last = (time.monotonic(), 0)

    def tell(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last[0] < _EVERY or done <= last[1]:
            return
        rate = (done - last[1]) / (now - last[0])
        last = (now, done)
        if total is None:
            typer.echo(f"{name}: {done} {things}, {rate:.1f} {things}/s", err=True)
            return
        minutes, seconds = divmod(round((total - done) / rate), 60)
        left = f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"
        said = f"{name}: {done} of {total} {things}, {rate:.1f} {things}/s, {left}"
        typer.echo(said, err=True)

    return tell
