"""The uploads of a session are bounded in sum, and freed once its tab has gone."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.app.client import ask
from tests.app.server import serving

_SMALL = """
import sys, threading, time
sys.path.append({root!r})
import app.upload_limit as limit
limit.MOST, limit.GRACE = 1_000_000, 2.0

def watch():
    while True:
        time.sleep(0.1)
        try:
            held = sum(map(limit._held, list(limit._uploads().file_storage)))
            open({held!r}, "w").write(str(held))
        except Exception:
            pass

threading.Thread(target=watch, daemon=True).start()
"""
_BOUNDARY = "x" * 20


def put(url: str, session: str, file: str, size: int, chunked: bool = False) -> int:
    """The status with which an upload of a session is answered."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="a.jpg"\r\n\r\n'
    body = head.encode() + bytes(size) + f"\r\n--{_BOUNDARY}--\r\n".encode()
    xsrf = re.search(r"_streamlit_xsrf=([^;]+)", ask(url, "/_stcore/health")[1]["set-cookie"])
    assert xsrf is not None
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    headers = {
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        "Cookie": xsrf[0],
        "X-Xsrftoken": xsrf[1],
        "Origin": url,
    }
    content = iter([body]) if chunked else body
    path = f"/_stcore/upload_file/{session}/{file}"
    try:
        connection.request("PUT", path, content, headers, encode_chunked=chunked)
        return connection.getresponse().status
    finally:
        connection.close()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for a while; fail where it does not come to be so."""
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_uploads_are_bounded_and_freed(tmp_path: Path) -> None:
    held = tmp_path / "held"

    def bytes_held() -> int:
        with suppress(OSError, ValueError):
            return int(held.read_text())
        return -1

    small = _SMALL.format(root=str(Path(__file__).parents[2]), held=str(held))
    with serving(tmp_path, customize=small) as (url, _):
        address = f"{url.replace('http', 'ws', 1)}/_stcore/stream"
        with connect(address, origin=Origin(url), max_size=None) as page:
            page.send(BackMsg(rerun_script=ClientState()).SerializeToString())
            first = ForwardMsg.FromString(page.recv(timeout=60, decode=False))
            session = first.new_session.initialize.session_id
            assert session
            assert put(url, session, "a", 600_000) == 204
            assert put(url, session, "b", 600_000) == 413
            assert put(url, session, "c", 300_000) == 204
            assert put(url, session, "d", 1000, chunked=True) == 413  # it may be of any size
            until(lambda: bytes_held() == 900_000)
            time.sleep(3)
            assert bytes_held() == 900_000  # its tab is there
        until(lambda: bytes_held() == 0)
