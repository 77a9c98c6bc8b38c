"""Pictures of requests: `data:` URLs, and http(s) ones of public addresses where that is allowed.

An http(s) URL is a stranger's: it must not reach what only this computer reaches. So every name is
resolved here, once, and the connection goes to the very address that was checked; redirects are
followed by the same rule. No proxy is used: it would resolve names itself.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import httpcore2
from PIL.Image import Image

from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.serve.error_reply import Refused

MAX_PIXELS_TOGETHER = 128_000_000  # of the pictures of one request
MAX_PIXELS_HELD = 256_000_000  # of all requests that are not answered; 3 bytes each
MAX_DOWNLOAD = 32 << 20  # bytes
DOWNLOAD_SECONDS = 15.0  # for a download, redirects included
MAX_REDIRECTS = 3
_DECODED_AT_ONCE = 2
_WRITTEN = "%/?:@!$&'()*+,;=~[]|"  # what stays in a URL's path and query as it is
_DATA = re.compile(r"data:(?:image/[\w.+-]+)?(?:;[\w.=+-]+)*;base64,", re.I)


class PictureReader:
    """Opens the pictures of requests, few at a time, and bounds what all of them hold in memory.

    `fetch` downloads http(s) URLs; without it they are refused.
    """

    def __init__(self, fetch: PublicFetcher | None) -> None:
        self._fetch = fetch
        self._decoding = asyncio.Semaphore(_DECODED_AT_ONCE)
        self._held = 0  # pixels

    @asynccontextmanager
    async def open(self, urls: Sequence[str]) -> AsyncIterator[list[Image]]:
        """Open pictures for the block. Raises InputError for a bad one, Refused without room."""
        images: list[Image] = []
        held = 0
        try:
            for number, url in enumerate(urls, start=1):
                image = await self._read(url, number)
                pixels = image.width * image.height
                if self._held + pixels > MAX_PIXELS_HELD:
                    raise Refused(429, "too many pictures are being answered: try again later")
                images.append(image)
                held += pixels
                self._held += pixels
                if held > MAX_PIXELS_TOGETHER:
                    raise InputError(
                        f"the pictures have more than {MAX_PIXELS_TOGETHER:,} pixels together: "
                        "make them smaller"
                    )
            yield images
        finally:
            self._held -= held

    async def _read(self, url: str, number: int) -> Image:
        if url[:5].lower() == "data:":
            return await self._decode(lambda: load_image(_data(url, number)))
        if url[:8].lower().startswith(("http://", "https://")):
            if self._fetch is None:
                raise InputError(
                    f"picture {number}: this server fetches no URLs; send the picture itself, as "
                    "data:image/jpeg;base64,..."
                )
            content = await self._fetch(url, number)  # however slow: others decode meanwhile
            return await self._decode(lambda: load_image(content))
        raise InputError(f"picture {number}: the URL is none of data:image/...;base64,")

    async def _decode(self, decode: Callable[[], Image]) -> Image:
        async with self._decoding:
            return await asyncio.to_thread(decode)


def _data(url: str, number: int) -> bytes:
    head = _DATA.match(url)
    if head is None:
        raise InputError(f"picture {number}: the data URL is no data:image/...;base64,")
    try:
        return base64.b64decode(url[head.end() :].translate(_SAFE), validate=True)
    except (ValueError, binascii.Error):
        raise InputError(f"picture {number}: the data URL is no base64") from None


_SAFE = str.maketrans("-_", "+/", " \r\n\t")  # the alphabet of URLs, and lines that were broken


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the internet, and leads nowhere else.

    Those that carry an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) are not: a gateway
    would unpack a private one. Nor are those that were once private to a site (fec0::/10).
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and (
        ip.sixtofour or ip.teredo or ip.ipv4_mapped or ip.is_site_local
    ):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


class PublicFetcher:
    """Downloads from addresses that `allowed` lets through, by default public ones."""

    def __init__(self, allowed: Callable[[str], bool] = is_public) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            network_backend=_CheckedNetwork(allowed), max_connections=8, max_keepalive_connections=0
        )

    async def __call__(self, url: str, number: int) -> bytes:
        """Download a picture. Raises InputError, which says nothing about what was reached."""
        try:
            async with asyncio.timeout(DOWNLOAD_SECONDS):
                for _ in range(MAX_REDIRECTS + 1):
                    content, target = await self._get(_checked(url))
                    if target is None:
                        return content
                    url = urljoin(url, target)
        except _TooLarge:
            raise InputError(
                f"picture {number}: the URL gives more than {MAX_DOWNLOAD:,} bytes"
            ) from None
        except Exception:  # whether a port is open, or a name known, is not for strangers
            pass
        raise InputError(f"picture {number}: the URL gives no picture from a public address")

    async def _get(self, url: str) -> tuple[bytes, str | None]:
        """Return the content of a URL, or where it redirects to."""
        headers = [("Accept", "image/*"), ("Accept-Encoding", "identity"), ("User-Agent", "vqa")]
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), DOWNLOAD_SECONDS)
        async with self._pool.stream(
            "GET", url, headers=headers, extensions={"timeout": timeout}
        ) as response:
            if response.status in (301, 302, 303, 307, 308):
                fields = {name.lower(): value for name, value in response.headers}
                return b"", fields[b"location"].decode("utf-8")
            if response.status != 200:
                raise ValueError
            content = b""
            async for piece in response.aiter_stream():
                content += piece
                if len(content) > MAX_DOWNLOAD:
                    raise _TooLarge
            return content, None


class _TooLarge(Exception):
    pass


def _checked(url: str) -> str:
    """Check a URL, and write it in ASCII as browsers do. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError
    place = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    path, query = (quote(part, safe=_WRITTEN) for part in (parts.path, parts.query))
    return urlunsplit((parts.scheme, place, path, query, ""))


class _CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses of a name, if all of them are allowed."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._allowed = allowed
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(info[4][0]) for info in infos]
        if not addresses or not all(map(self._allowed, addresses)):
            raise PermissionError
        return await self._network.connect_tcp(
            addresses[0], port, timeout, local_address, socket_options
        )

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise PermissionError

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)
