"""Who may speak to the page: a browser that opened it by one of its own names, and no other page.

Streamlit checks the websocket alone, by its `Host` where `server.allowedHosts` is set, and takes
every origin on `localhost`, of any port; whatever else it does not know it compares with this
machine's external address, which it asks the internet for. So everything is checked here, before
Streamlit sees it, by one rule: pages, pictures, uploads, components and the websocket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vqa.utils.allowed_hosts import HOST, AllowedHosts

# what nobody needs who looks at the page: sizes of the server's memory, and Streamlit's interface
# for programs
_CLOSED = re.compile(r".*/_stcore/(metrics|agent/.*)/?")
_ELSEWHERE = ("cross-site", "same-site")  # another port of this host is of the same site

# Streamlit styles and starts its page from within it, and makes a module of a component's script
# (blob:); nothing at all comes from elsewhere.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob: ws://{host} wss://{host}; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'; object-src 'none'"
)


class Gate:
    """Lets through what the page's own browser asks for; the rest is refused with status 403."""

    def __init__(self, app: ASGIApp, names: AllowedHosts) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or refuse."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        reason = self._refusal(scope, headers)
        if reason is not None:
            await _refuse(scope, receive, send, reason)
        elif _CLOSED.fullmatch(scope["path"]):
            await PlainTextResponse("Not found\n", 404)(scope, receive, send)
        else:
            # Checked: Streamlit would ask the internet about an origin that a proxy has renamed.
            rest = [(name, value) for name, value in scope["headers"] if name != b"origin"]
            await self._app({**scope, "headers": rest}, receive, _guarded(send, headers["host"]))

    def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        """Why the request is not of the page's own browser; None where it is."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or len(origins) > 1:
            return "the request needs one Host and at most one Origin."
        (host,) = hosts
        if not self._names.has(host):
            named = f" {host}" if HOST.fullmatch(host.lower()) and len(host) < 255 else ""
            label = named or " this name"
            return (
                f"this page is not served as{label}. If it should be, start it with "
                f"vqa app --allow-host{named or ' NAME'}"
            )
        scheme = scope.get("scheme", "http").replace("ws", "http")
        for origin in origins:
            # Browsers name the origin of every websocket and of all that changes something. Where
            # none is named a program asks, which could name any: it is let in.
            if not self._names.is_own_origin(origin, scheme, host):
                return (
                    "another page asked for this one. If it was this one, behind a proxy, start it "
                    "with vqa app --allow-host and the name that the browser shows."
                )
        if headers.get("sec-fetch-site") in _ELSEWHERE and not _is_link(scope, headers):
            return "another page asked for a part of this one."
        return None


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Return whether a person followed a link to the page, which then has a window of its own."""
    return (
        scope.get("method") == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


async def _refuse(scope: Scope, receive: Receive, send: Send, reason: str) -> None:
    if scope["type"] == "websocket":  # before it is accepted: the server answers 403
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    answer = PlainTextResponse(f"vqa: {reason}\n", 403, {"cache-control": "no-store"})
    await answer(scope, receive, _guarded(send, "localhost"))


def _guarded(send: Send, host: str) -> Send:
    """Say with every answer that browsers load nothing from elsewhere, and show it nowhere else."""
    added: Iterable[tuple[str, str]] = (
        ("content-security-policy", _POLICY.format(host=host.lower())),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
    )

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in added:
                headers[name] = value
            headers.setdefault("cache-control", "private")
        await send(message)

    return guarded
