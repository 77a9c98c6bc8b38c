"""What uploads may take: a sum for each session, and nothing once its tab has gone.

Streamlit limits each file, keeps all of a session in memory, and lets go of them when some later
session ends.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from typing import cast

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.config import get_option
from streamlit.runtime import Runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

MOST = 700 << 20  # bytes of a session: the largest data file with its pictures, and photos
GRACE = 60.0  # seconds in which a tab that has lost its connection may come back
_UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+")


class UploadLimit:
    """Refuses an upload beyond the sum, and closes sessions with uploads whose tab has gone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._coming: Counter[str] = Counter()  # bytes on their way, by session
        self._gone: dict[str, float] = {}  # when a session was first without its tab
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, but for an upload that is too large."""
        if scope["type"] == "websocket":
            try:
                await self._app(scope, receive, send)
            finally:
                task = asyncio.create_task(self._free_later())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            return
        upload = _UPLOAD.search(scope.get("path", "")) if scope["type"] == "http" else None
        if upload is None or scope["method"] not in ("PUT", "POST"):
            await self._app(scope, receive, send)
            return
        session, size = upload[1], _length(Headers(scope=scope))
        if _held(session) + self._coming[session] + size > MOST:
            refusal = PlainTextResponse("too much was uploaded in this tab: reload the page", 413)
            await refusal(scope, receive, send)
            return
        self._coming[session] += size
        try:
            await self._app(scope, receive, send)
        finally:
            self._coming[session] -= size
            self._coming += Counter()  # forgets sessions of which nothing is on its way

    async def _free_later(self) -> None:
        self._free()
        await asyncio.sleep(GRACE)
        self._free()

    def _free(self) -> None:
        """Close the sessions that have been without their tab for long enough."""
        runtime, now = Runtime.instance(), time.monotonic()
        sessions = list(_uploads().file_storage)
        gone = [session for session in sessions if not runtime.is_active_session(session)]
        self._gone = {session: self._gone.get(session, now) for session in gone}
        for session, since in list(self._gone.items()):
            if now - since >= GRACE:
                runtime.close_session(session)
                _uploads().remove_session_files(session)  # of one that Streamlit has forgotten
                del self._gone[session]


def _uploads() -> MemoryUploadedFileManager:
    return cast(MemoryUploadedFileManager, Runtime.instance().uploaded_file_mgr)


def _held(session: str) -> int:
    return sum(len(file.data) for file in list(_uploads().file_storage.get(session, {}).values()))


def _length(headers: Headers) -> int:
    """Return the bytes of a request; the most that Streamlit takes where it does not say."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else int(get_option("server.maxUploadSize")) << 20
