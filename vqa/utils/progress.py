"""Progress of a long command on stderr: a bar in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import typer

_EVERY = 30.0  # seconds between two lines

Update = Callable[[int, int | None], None]
Item = TypeVar("Item")


def track(
    items: Iterable[Item], name: str, unit: str = "rows", total: int | None = None
) -> Iterator[Item]:
    """Yield the items, telling on stderr how many have been taken."""
    with progress_bar(name, unit) as update:
        for done, item in enumerate(items, 1):
            yield item
            update(done, total)


@contextmanager
def progress_bar(name: str, unit: str = "rows") -> Iterator[Update]:
    """Yield a function that takes how many units are done and how many there are, if known."""
    if not sys.stderr.isatty():
        yield _lines(name, unit)
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
            return Text(f"{task.speed:.1f} {unit}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(name: str, unit: str) -> Update:
    """Print a line every half minute. The rate is that since the last line."""
    last = (time.monotonic(), 0)

    def update(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last[0] < _EVERY or done <= last[1]:
            return
        rate = (done - last[1]) / (now - last[0])
        last = (now, done)
        if total is None:
            typer.echo(f"{name}: {done} {unit}, {rate:.1f} {unit}/s", err=True)
            return
        minutes, seconds = divmod(round((total - done) / rate), 60)
        left = f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"
        line = f"{name}: {done} of {total} {unit}, {rate:.1f} {unit}/s, {left}"
        typer.echo(line, err=True)

    return update
