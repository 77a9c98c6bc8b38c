"""Limits of what a client may send, in bytes and in time, before anything is made of it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from vqa.serve.error_reply import Refused, reply_to

MAX_BODY = 64 << 20  # bytes: two photos of 12 megapixels as PNG
MAX_BODIES = 256 << 20  # bytes of all requests that are not answered
BODY_SECONDS = 60.0
HEADER_SECONDS = 10.0


class ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


class BodyLimit:
    """Reads a body whole before the app sees it, within the limits, or refuses the request."""

    def __init__(
        self,
        app: ASGIApp,
        max_body: int = MAX_BODY,
        max_bodies: int = MAX_BODIES,
        seconds: float = BODY_SECONDS,
    ) -> None:
        self._app = app
        self._max_body = max_body
        self._max_bodies = max_bodies
        self._seconds = seconds
        self._held = 0  # bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                await self._read(scope, receive, body)
        except ClientLeft:
            pass
        except (Refused, TimeoutError) as error:
            slow = Refused(408, f"the body did not come within {self._seconds:g} seconds")
            # The connection stays open for a while (`TimedHeaders`): a client that sends all
            # before it reads would get a reset connection instead of this reply.
            await reply_to(error if isinstance(error, Refused) else slow)(scope, receive, send)
        else:
            await self._app(scope, _replayed(bytes(body), receive), send)
        finally:
            self._held -= len(body)

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> None:
        length = Headers(scope=scope).get("content-length", "0")
        too_large = Refused(413, f"the body has more than {self._max_body:,} bytes")
        if length.isdecimal() and int(length[:20]) > self._max_body:
            raise too_large
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            piece = message.get("body", b"")
            if len(body) + len(piece) > self._max_body:
                raise too_large
            if self._held + len(piece) > self._max_bodies:
                raise Refused(503, "too much is being sent to this server: try again later")
            body += piece
            self._held += len(piece)
            more = message.get("more_body", False)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read, and then what comes after it: that the client has left."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


class TimedHeaders(H11Protocol):
    """Closes a connection on which the head of a request does not come in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what has come; wait for the rest of a head."""
        super().data_received(data)
        if self._at_work():
            self._stop()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _give_up(self) -> None:
        self._timer = None
        if not self._at_work():
            self.transport.close()
