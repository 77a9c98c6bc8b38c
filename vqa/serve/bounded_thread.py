"""A thread that all clients share: for work that should hold up no answer that is being written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any, TypeVar

from vqa.serve.scheduler import QueueFull

_RETRY_SECONDS = 5
Result = TypeVar("Result")


class BoundedThread:
    """Runs jobs one after the other; at most `max_waiting` wait for it."""

    def __init__(self, name: str, max_waiting: int) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._places = BoundedSemaphore(max_waiting + 1)

    async def run(self, job: Callable[..., Result], *given: Any) -> Result:
        """Wait for the result of `job(*given)`. Raises QueueFull, and what the job raises."""
        if not self._places.acquire(blocking=False):
            raise QueueFull(_RETRY_SECONDS)
        future = self._thread.submit(job, *given)
        future.add_done_callback(lambda _: self._places.release())  # if it is cancelled, too
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what waits, and end the thread."""
        self._thread.shutdown(cancel_futures=True)
