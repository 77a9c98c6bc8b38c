"""What speaks to a started page as a browser or a program does: any name, origin and cookie."""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from websockets.sync.client import connect
from websockets.typing import Origin

from app.browsers import COOKIE


def ask(
    url: str, path: str = "/", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer; `_` in the name of a header stands for `-`."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, headers=sent)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def cookie(url: str) -> str:
    """The cookie that a new browser is given, as it sends it back."""
    jar = SimpleCookie(ask(url)[1]["set-cookie"])
    return f"{COOKIE}={jar[COOKIE].value}"


def websocket(url: str, host: str | None = None, origin: str | None = None) -> int:
    """The status by which the page's websocket is opened, 101, or refused."""
    headers = {"Host": host or urlsplit(url).netloc} | ({"Origin": origin} if origin else {})
    key, version = base64.b64encode(bytes(16)).decode(), "13"
    return ask(
        url, "/_stcore/stream", Upgrade="websocket", Connection="Upgrade",
        Sec_WebSocket_Key=key, Sec_WebSocket_Version=version, **headers,
    )[0]  # fmt: skip


def pictures(url: str, cookie: str) -> list[str]:
    """Paths of the pictures that the page of this browser shows."""
    paths: list[str] = []
    for message in shown(url, cookie):
        paths += re.findall(r"/media/[0-9a-f/]+\.jpg", message)
        if len(paths) >= 3:
            break
    return paths


def shown(url: str, cookie: str = "") -> Iterator[str]:
    """What the page sends to this browser, from its first run on."""
    address = f"{url.replace('http', 'ws', 1)}/_stcore/stream"
    headers = {"Cookie": cookie} if cookie else {}
    with connect(address, origin=Origin(url), additional_headers=headers, max_size=None) as page:
        page.send(BackMsg(rerun_script=ClientState()).SerializeToString())
        while True:
            yield bytes(page.recv(timeout=20, decode=False)).decode("latin-1")
