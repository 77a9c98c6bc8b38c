"""One completion on its way: from the scheduler's thread to the event loop, up to a stop text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from vqa.answering import Answer, Request, Token
from vqa.errors import VQAError
from vqa.serve.scheduler import Event, Scheduler
from vqa.serve.stop_texts import StopTexts


class Completion:
    """Pieces of an answer as they come; closing it early frees its place.

    `text`, `tokens`, `answer` and `finish_reason` are complete once `pieces` has ended. Before,
    and where it is closed early, the reason is `cancelled`; where the answer fails, `error`.
    """

    def __init__(
        self, scheduler: Scheduler, model: str, request: Request, stop: Sequence[str]
    ) -> None:
        self.text = ""
        self.tokens: list[Token] = []
        self.answer = Answer("", "cancelled")
        self.finish_reason = "cancelled"
        self._scheduler = scheduler
        self._stop = StopTexts(stop)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def emit(event: Event) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._events.put_nowait, event)

        self._key = scheduler.submit(model, request, emit)

    async def pieces(self) -> AsyncGenerator[tuple[str, list[Token]], None]:
        """Yield pieces of text with their tokens. Raises VQAError where the answer fails."""
        sent = 0  # tokens
        try:
            while not isinstance(event := await self._events.get(), Answer):
                if isinstance(event, VQAError):
                    self.finish_reason = "error"
                    raise event
                if self._stop.stopped:  # a token that was on its way
                    continue
                self.tokens.append(event)
                piece = self._stop.add(event.text)
                if self._stop.stopped:
                    self._scheduler.cancel(self._key)
                if piece:
                    self.text += piece
                    yield piece, self.tokens[sent:]
                    sent = len(self.tokens)
            self.answer = event
            rest = self._stop.flush()
            self.text += rest
            if rest or sent < len(self.tokens):
                yield rest, self.tokens[sent:]
            self.finish_reason = "stop" if self._stop.stopped else event.finish_reason
        finally:
            self._scheduler.cancel(self._key)
