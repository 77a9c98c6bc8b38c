"""A line of JSON for each request: what it was, how it ended, its times and tokens.

Never what was asked: no text, no picture, no key, no address of a client.
"""

from __future__ import annotations

import json
import logging
import secrets
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vqa.serve.completion import Completion

# asked again and again by whoever watches the process: logged where they fail
_WATCHED = ("/health", "/ready", "/metrics")
_LEFT = 499  # where no reply began, the client had left

log = logging.getLogger(__name__)


class LoggedRequests:
    """Logs the requests of an app, the refused ones included, each under its `x-request-id`."""

    def __init__(self, app: ASGIApp, stream: TextIO | None) -> None:
        self._app = app
        self._stream = stream  # None: no log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, now = perf_counter(), datetime.now(UTC)
        status = _LEFT
        facts: dict[str, Any] = {"id": secrets.token_hex(12)}
        scope.setdefault("state", {})["facts"] = facts

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (b"x-request-id", facts["id"].encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            path = getattr(scope.get("route"), "path", "other")  # strangers try any
            if status >= 400 or path not in _WATCHED:
                self._write(
                    {
                        "time": now.isoformat(timespec="milliseconds"),
                        "method": scope["method"],
                        "path": path,
                        "status": status,
                        "seconds": round(perf_counter() - began, 4),
                        **facts,
                    }
                )

    def _write(self, row: dict[str, Any]) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(json.dumps(row) + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:  # a full disk, a reader that left, a closed stream
            self._stream = None  # answers go on
            log.error("requests are no longer logged: %s", error)


def note_completion(scope: Scope, completion: Completion) -> None:
    """Add the tokens and times of a completion, as far as it came, to its request's line."""
    answer = completion.answer
    scope["state"]["facts"].update(
        finish_reason=completion.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=max(answer.new_tokens, len(completion.tokens)),
        first_token_seconds=round(answer.seconds.first_token, 4),
        answer_seconds=round(answer.seconds.total, 4),
    )
