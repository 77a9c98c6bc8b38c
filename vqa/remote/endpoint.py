"""Requests to an HTTP endpoint, with retries; every reply is bounded in bytes and in time."""

from __future__ import annotations

import asyncio
import codecs
import json
import math
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TypeVar
from urllib.parse import quote, urlsplit

import httpx2

from vqa.errors import InputError, VQAError
from vqa.remote.chat_completions import error_message

T = TypeVar("T")

_RETRYABLE = {408, 409, 425, 429}  # and all from 500 on: the same request may succeed later
_REFUSES_ALL = {401, 403, 404, 405}  # no other request would fare better
_MAX_BACKOFF = 30.0  # seconds, where the endpoint names none
_MAX_WAIT = 300.0  # seconds in sum; an endpoint that wants longer waits has failed
_ERROR_BYTES = 1 << 20  # that are read of a refusal
_MESSAGE_LENGTH = 300  # characters of an endpoint's text in a message
_MASKED_LENGTH = 8  # characters of a key in a row, from anywhere in it, that are masked
_ENCODINGS = ("", "identity", "gzip", "deflate")  # that httpx2 unpacks piece by piece


class RetryableError(Exception):
    """An attempt failed, another may succeed after `wait` seconds (None: no wish of the server)."""

    def __init__(self, problem: str, wait: float | None = None) -> None:
        super().__init__(problem)
        self.wait = wait


class EndpointRefused(InputError):
    """The endpoint would refuse every request: the key, the address or the model is wrong."""


class Endpoint:
    """Sends requests to the paths below `url`, from one event loop.

    After a failed connection, `timeout` seconds of silence or an overloaded endpoint it retries up
    to `retries` times, first after about `backoff` seconds, then twice as long each time, or as
    Retry-After asks. All attempts together end after `deadline` seconds. It follows no redirect,
    stores no cookie, and masks the key in messages.

    Raises InputError for an address or a key that cannot be one.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        timeout: float,
        deadline: float,
        retries: int,
        backoff: float,
    ) -> None:
        self.url = _check_url(url)
        self._key = _check_key(api_key)
        self._timeout = min(timeout, deadline)
        self._deadline = deadline
        self._retries = retries
        self._backoff = backoff
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx2.Timeout(self._timeout, pool=None),
            follow_redirects=False,
        )
        self._client.headers["Accept-Encoding"] = "identity"  # replies are small

    async def retry(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat `attempt` until it raises no `RetryableError`.

        Raises VQAError when all retries have failed, or at the deadline.
        """
        problem, waited = "", 0.0
        try:
            async with asyncio.timeout(self._deadline):
                for number in range(self._retries + 1):
                    try:
                        return await attempt()
                    except RetryableError as error:
                        problem, wait = str(error), error.wait
                    if wait is None:
                        wait = min(self._backoff * 2**number, _MAX_BACKOFF)
                    wait *= random.uniform(1, 1.5)  # not all at the same moment
                    waited += wait
                    if number == self._retries or waited > _MAX_WAIT:
                        break
                    await asyncio.sleep(wait)
        except TimeoutError:
            before = f" (before that: {problem})" if problem else ""
            problem = f"no whole answer came within {self._deadline:g} seconds{before}"
        raise VQAError(
            f"{self.url} does not answer: {self.printable(problem)}; "
            "start the server or check `base_url`."
        )

    @asynccontextmanager
    async def send(
        self, method: str, path: str, body: bytes | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request, and open its reply once that is no refusal.

        Raises RetryableError where another attempt may succeed, InputError where none can.
        """
        headers = {"Content-Type": "application/json"}
        url = f"{self.url}/{path}"
        try:
            async with self._client.stream(method, url, content=body, headers=headers) as response:
                await self._raise_for_status(response)
                yield response
        except httpx2.TimeoutException:
            raise RetryableError(f"nothing came within {self._timeout:g} seconds") from None
        except httpx2.RequestError as error:
            raise RetryableError(" ".join(str(error).split()) or type(error).__name__) from None

    async def _raise_for_status(self, response: httpx2.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        if response.has_redirect_location:
            target = self.printable(response.headers["Location"])
            raise EndpointRefused(f"{self.url} redirects to {target!r}: give the final `base_url`.")
        raw = b"".join([piece async for piece in _pieces(response, _ERROR_BYTES)])
        message = error_message(raw[:_ERROR_BYTES]) or response.reason_phrase
        problem = f"{status} {self.printable(message)}"
        if status in _RETRYABLE or status >= 500:
            raise RetryableError(problem, _retry_after(response.headers.get("Retry-After")))
        if status in _REFUSES_ALL:
            advice = "API key" if status in (401, 403) else "`base_url` (.../v1) and `model`"
            raise EndpointRefused(f"{self.url}: {problem}; check the {advice}.")
        raise InputError(f"{self.url} refuses the request: {problem}")

    def printable(self, text: str) -> str:
        """Make one short line of an endpoint's text, with the key masked.

        Some repeat the key, or a part of it, as it is or as a URL or JSON writes it.
        """
        line = " ".join(text.split())[: 50 * _MESSAGE_LENGTH]
        if self._key:
            line = _mask(line, self._key, quote(self._key, ""), json.dumps(self._key)[1:-1])
        line = "".join(char if char.isprintable() else "?" for char in line[: _MESSAGE_LENGTH + 1])
        return line if len(line) <= _MESSAGE_LENGTH else f"{line[:_MESSAGE_LENGTH]}..."

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


async def read_body(response: httpx2.Response, max_bytes: int) -> bytes:
    """Read a reply's body. Raises RetryableError where it has more than `max_bytes`, unpacked."""
    raw = b"".join([piece async for piece in _pieces(response, max_bytes)])
    if len(raw) > max_bytes:
        raise RetryableError(f"its reply is longer than {max_bytes:,} bytes")
    return raw


async def read_events(response: httpx2.Response, max_bytes: int) -> AsyncIterator[str]:
    """Yield the data of each event of a stream (text/event-stream). Raises as `read_body` does."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise RetryableError(f"no stream of events came, but {kind or 'something without a type'}")
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")  # the format's only charset
    size = 0
    line: list[str] = []  # the parts of one that has not ended
    data: list[str] = []
    async with aclosing(_pieces(response, max_bytes)) as pieces:
        async for piece in pieces:
            size += len(piece)
            if size > max_bytes:
                raise RetryableError(f"its stream is longer than {max_bytes:,} bytes")
            line.append(decoder.decode(piece))
            if b"\n" not in piece and b"\r" not in piece:
                continue
            # an end of line may come in two pieces; no other character of Unicode ends a line
            *lines, rest = re.split(r"\r\n|\n|\r(?!\Z)", "".join(line))
            line = [rest]
            for text in lines:
                if not text and data:
                    yield "\n".join(data)
                    data = []
                elif text.startswith("data:"):
                    data.append(text.removeprefix("data:").removeprefix(" "))


async def _pieces(response: httpx2.Response, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body, unpacked, until more than `max_bytes` have come."""
    packed = response.headers.get("Content-Encoding", "").strip().lower()
    if packed not in _ENCODINGS:
        raise RetryableError(f"its reply is packed ({packed}), which nobody has asked for")
    size = 0
    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            yield piece
            size += len(piece)
            if size > max_bytes:
                return


def _mask(text: str, *keys: str) -> str:
    """Put `***` for each key, and for several characters in a row of it."""
    masked = bytearray(len(text))
    for key in keys:
        length = min(len(key), _MASKED_LENGTH)
        for piece in {key[start : start + length] for start in range(len(key) - length + 1)}:
            start = text.find(piece)
            while start >= 0:
                masked[start : start + length] = b"\1" * length
                start = text.find(piece, start + 1)
    chars = ("\0" if mask else char for char, mask in zip(text, masked, strict=True))
    return re.sub("\0+", "***", "".join(chars))


def _check_url(base_url: str) -> str:
    """Check an endpoint's address. Raises InputError, without repeating a secret in it."""
    address = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        httpx2.URL(address)  # it is stricter
    except (ValueError, httpx2.InvalidURL):
        valid = False
    if "@" in address or "?" in address or "#" in address:
        raise InputError("`base_url` holds more than an address: give a key as the API key.")
    if not valid:
        raise InputError(f"{base_url!r} is no `base_url`: it looks like http://localhost:8000/v1.")
    return address


def _check_key(api_key: str | None) -> str | None:
    key = (api_key or "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError("The API key holds characters that no key has: check where it is set.")
    return key or None


def _retry_after(value: str | None) -> float | None:
    """Parse Retry-After: seconds, from a number of them or from a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ArithmeticError, LookupError, OSError, TypeError, ValueError):  # no date
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
