"""Telling browsers apart by a cookie."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "vqa_owner"
VALID = re.compile(r"[A-Za-z0-9_-]{43}")
_YEAR = 365 * 24 * 3600

# The browser whose request is answered, or whose websocket is served; empty without a cookie.
ASKING: ContextVar[str] = ContextVar("asking", default="")


def browser_of(cookies: Mapping[str, str]) -> str:
    """Return the id of the browser that sent these cookies; empty where it keeps none."""
    browser = str(cookies.get(COOKIE, ""))
    return browser if VALID.fullmatch(browser) else ""


class OwnerCookie:
    """Gives every browser an unguessable id, which no script of a page can read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, with a cookie where the browser had none."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        browser = browser_of(HTTPConnection(scope).cookies)
        secure = "; Secure" if scope.get("scheme") == "https" else ""

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and not browser:
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    value = f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; Max-Age={_YEAR}"
                    headers.append("set-cookie", f"{value}; HttpOnly; SameSite=Lax{secure}")
            await send(message)

        before = ASKING.set(browser)
        try:
            await self._app(scope, receive, send_with_cookie)
        finally:
            ASKING.reset(before)
