"""Results that a few threads compute ahead, within bounds of memory, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def prefetch(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    size: Callable[[Result], int],
    *,
    threads: int,
    most: int,
    most_size: int,
) -> Generator[Result, None, None]:
    """Yield `work(task)` for each task, in order, while threads already work at the next ones.

    No new work is begun while `most` results, or results of `most_size` in all, are begun or wait
    to be taken; what is being worked at then still ends. An exception of `work` is raised when its
    turn comes. Close the generator (`contextlib.closing`) to end the threads early.
    """
    change = threading.Condition()
    ready: dict[int, tuple[Result | None, BaseException | None, int]] = {}
    begun = yielded = waiting_size = 0
    closed = False

    def may_begin() -> bool:
        return closed or (begun - yielded < most and waiting_size < most_size)

    def run() -> None:
        nonlocal begun, waiting_size
        while True:
            with change:
                change.wait_for(may_begin)
                if closed or begun == len(tasks):
                    return
                number = begun
                begun += 1
            result, error, cost = None, None, 0
            try:
                result = work(tasks[number])
                cost = size(result)
            except BaseException as raised:
                error = raised
            with change:
                ready[number] = (result, error, cost)
                waiting_size += cost
                change.notify_all()
            del result

    workers = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        for number in range(len(tasks)):
            with change:
                change.wait_for(lambda: number in ready)  # noqa: B023 (called before the next)
                result, error, cost = ready.pop(number)
                yielded += 1
                waiting_size -= cost
                change.notify_all()
            if error is not None:
                raise error
            yield result  # type: ignore[misc]  # it is there where no error is
            del result
    finally:
        with change:
            closed = True
            change.notify_all()
        for worker in workers:
            worker.join()
