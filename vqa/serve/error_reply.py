"""Errors in OpenAI's shape; a message is one short line, and repeats nothing of this computer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vqa.errors import InputError, VQAError, printable_line
from vqa.serve.scheduler import QueueFull, ServerCloses

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_LONGEST = 500  # characters of a message

log = logging.getLogger(__name__)


class Refused(VQAError):
    """A request that gets an HTTP status of its own."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Make the body of an error."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    message = printable_line(message, _LONGEST)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def error_reply(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Make the reply of an error."""
    return JSONResponse(error_body(status, message, code), status, headers)


def reply_to(error: VQAError) -> JSONResponse:
    """Make the reply of a failure: 400 for wrong input, 500 for a model that fails."""
    if isinstance(error, Refused):
        headers = {"Retry-After": "2"} if error.status in (429, 503) else None
        return error_reply(error.status, str(error), error.code, headers)
    if isinstance(error, QueueFull):
        headers = {"Retry-After": str(error.seconds)}
        return error_reply(429, str(error), "queue_full", headers)
    if isinstance(error, ServerCloses):
        return error_reply(503, str(error), headers={"Retry-After": "5"})
    return error_reply(400 if isinstance(error, InputError) else 500, str(error))


class RepliedFailures:
    """Answers with status 500 where an app raises what nobody expected, before its reply begins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does."""
        began = False

        async def noted(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if began or scope["type"] != "http":
                raise
            log.error("a request failed", exc_info=error)
            await error_reply(500, "the server failed")(scope, receive, send)
