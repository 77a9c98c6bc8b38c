"""Who may ask the server: holders of a key, or, where there are no keys, this computer alone."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from vqa.errors import InputError
from vqa.serve.error_reply import error_reply
from vqa.utils.allowed_hosts import AllowedHosts

OPEN_PATHS = ("/health", "/ready")  # for whoever watches the process; they tell nothing else
_SHORTEST_KEY = 16  # characters
_ELSEWHERE = ("cross-site", "same-site")  # another port of this host is of the same site


class ApiKeys:
    """Keys, compared in the same time whatever a wrong one looks like."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    @classmethod
    def of_file(cls, path: Path) -> ApiKeys:
        """Read a file with a key in each line; empty lines and `#` notes are skipped.

        Raises InputError, which repeats no key, for a file without keys or with one that is none.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no text"
            raise InputError(f"`api_keys` {path} cannot be read: {why}") from error
        keys = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
        keys = [(number, key) for number, key in keys if key and not key.startswith("#")]
        for number, key in keys:
            if len(key) < _SHORTEST_KEY or not key.isascii() or " " in key or not key.isprintable():
                raise InputError(
                    f"`api_keys` {path}: line {number} is no key of at least {_SHORTEST_KEY} "
                    "letters, digits and signs (make one by: openssl rand -hex 24)"
                )
        if not keys:
            raise InputError(f"`api_keys` {path} holds no key: write one into each line")
        return cls([key for _, key in keys])

    def has(self, key: str) -> bool:
        """Return whether a key is one of them."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        matches = [hmac.compare_digest(digest, own) for own in self._digests]
        return any(matches)  # of all: no early end


class Access:
    """Refuses, before a body is read, whoever may not ask."""

    def __init__(self, app: ASGIApp, keys: ApiKeys | None, host: str) -> None:
        self._app = app
        self._keys = keys
        self._hosts = AllowedHosts(host, (), local=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or refuse."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        if self._keys is None and not self._is_own(scope, headers):
            refusal = error_reply(403, "without API keys this server is for this computer alone")
            await refusal(scope, receive, send)
        elif self._keys is not None and not self._has_key(scope["path"], headers):
            refusal = error_reply(
                401,
                "a valid API key is needed: send it as Authorization: Bearer KEY",
                "invalid_api_key",
                {"WWW-Authenticate": "Bearer"},
            )
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _has_key(self, path: str, headers: Headers) -> bool:
        assert self._keys is not None
        if path in OPEN_PATHS:
            return True
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._keys.has(key.strip())

    def _is_own(self, scope: Scope, headers: Headers) -> bool:
        """Return whether no web page asks, but a program or a page of this server itself."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._hosts.has(hosts[0]):
            return False
        scheme = scope.get("scheme", "http")
        if not all(self._hosts.is_own_origin(origin, scheme, hosts[0]) for origin in origins):
            return False
        return headers.get("sec-fetch-site") not in _ELSEWHERE
