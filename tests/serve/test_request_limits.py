"""What is too large or too slow is refused, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.hostile import harness
from tests.hostile import pictures as planted
from tests.hostile.harness import Case
from tests.serve.server import (
    Counting,
    about,
    data_url,
    picture_file,
    post,
    raw,
    refused,
    serving,
)
from vqa.serve import picture_urls, request_limits

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with limits that a test reaches soon."""
    monkeypatch.setattr(request_limits.BodyLimit.__init__, "__defaults__", (10_000, 25_000, 1.0))
    monkeypatch.setattr(request_limits, "HEADER_SECONDS", 1.0)
    with serving({"c": Counting()}) as url:
        yield url


def test_a_body_over_the_limit(small: str) -> None:
    body = about("count", model="c", max_tokens=2)
    assert "10,000 bytes" in refused(post(small, body | {"user": "x" * 11_000}), 413)
    # announced, and never sent: refused at once
    reply = raw(small, HEAD + b"Content-Length: 99999999999999999999\r\n\r\n")
    assert b" 413 " in reply
    # in chunks, whose sum nobody announces
    chunks = b"".join(b"%x\r\n%s\r\n" % (4000, b" " * 4000) for _ in range(4))
    assert b" 413 " in raw(small, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert post(small, body).status_code == 200


def test_clients_that_send_all_before_they_read_get_the_reply(small: str) -> None:
    body = json.dumps(about("count", model="c", user="x" * (48 << 20))).encode()

    async def ask() -> int:
        async with httpx2.AsyncClient(timeout=30) as client:
            head = {"Content-Type": "application/json"}
            reply = await client.post(f"{small}/v1/chat/completions", content=body, headers=head)
            return reply.status_code

    assert [asyncio.run(ask()) for _ in range(3)] == [413] * 3


def test_a_refused_connection_is_not_held_for_ever(small: str) -> None:
    host, _, port = small.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(HEAD + b"Content-Length: 99999999\r\n\r\n")
        assert b" 413 " in connection.recv(65536)
        began = time.perf_counter()
        with contextlib.suppress(OSError):
            while time.perf_counter() - began < 10:
                connection.sendall(b" " * 100)
                time.sleep(0.1)
        assert time.perf_counter() - began < 5


def test_a_body_that_comes_slowly(small: str) -> None:
    host, _, port = small.removeprefix("http://").partition(":")
    began = time.perf_counter()
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(HEAD + b"Content-Length: 5000\r\n\r\n")
        try:
            for _ in range(40):  # each byte in time
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass
        connection.settimeout(3)
        reply = connection.recv(65536)
    assert b" 408 " in reply and b"within 1 seconds" in reply
    assert time.perf_counter() - began < 4
    assert post(small, about("count", model="c", max_tokens=2)).status_code == 200


def test_a_head_that_never_ends(small: str) -> None:
    host, _, port = small.removeprefix("http://").partition(":")
    for start in (b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", b"G"):
        began = time.perf_counter()
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(start)
            assert connection.recv(100) == b""  # closed
        assert 0.5 < time.perf_counter() - began < 3
    assert b" 400 " in raw(small, b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)


def test_bodies_that_are_too_many_together(small: str) -> None:
    def ask(_: int) -> int:
        return post(small, about("count", model="c", max_tokens=60, user="x" * 8000)).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(ask, range(6)))
    assert set(statuses) == {200, 503}
    assert post(small, about("count", model="c", max_tokens=2)).status_code == 200


def test_what_is_no_http(small: str) -> None:
    lengths = [HEAD + b"Content-Length: %s\r\n\r\n" % length for length in (b"-1", b"x", b"1, 2")]
    for content in (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"hello\r\n\r\n", *lengths):
        reply = raw(small, content)
        assert b" 400 " in reply and b"Traceback" not in reply


@pytest.mark.parametrize("url", [
    "", "x", "cat.jpg", "/etc/passwd", "file:///etc/passwd", "data:", "data:,hello",
    "data:text/html;base64,PGI+", "data:image/png;base64,", "data:image/png;base64,????",
    "data:image/png;base64,aGVsbG8=", "data:image/png,\x89PNG",
    "DATA:image/svg+xml;base64,PHN2Zz4=",
    "http://127.0.0.1/x.png", "https://example.org/x.png", "ftp://example.org/x.png",
    "javascript:alert(1)", "\\\\host\\share\\x.png", "data:image/png;base64," + "A" * 100_000,
])  # fmt: skip
def test_urls_that_hold_no_picture(url_: str, url: str) -> None:
    message = refused(post(url_, about("what?", url, model="c")), 400)
    assert "passwd" not in message and len(message) < 300


@pytest.fixture(scope="module")
def url_() -> Iterator[str]:
    """A server with the limits that it has."""
    with serving({"c": Counting()}) as url:
        yield url


@pytest.mark.parametrize("case", planted.CASES, ids=lambda case: case.name)
def test_pictures_that_mean_ill(
    url_: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of tests/hostile, as large as a body may be: refused or read, and never a failure."""
    monkeypatch.setattr(planted, "_SIZE", 4 << 20)
    with harness.planted(case, tmp_path), (tmp_path / "photo").open("rb") as file:
        content = file.read(16 << 20)
    began = time.perf_counter()
    response = post(url_, about("what?", data_url(content), model="c", max_tokens=1))
    assert time.perf_counter() - began < 10
    if response.status_code != 200:
        assert str(tmp_path) not in refused(response, 400)


def test_pictures_together_are_bounded(url_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_urls, "MAX_PIXELS_TOGETHER", 10_000)
    monkeypatch.setattr(picture_urls, "MAX_PIXELS_HELD", 20_000)
    large = data_url(picture_file(Image.new("RGB", (100, 80))))
    body = about("what?", large, model="c", max_tokens=60)
    assert "10,000 pixels together" in refused(
        post(url_, about("what?", large, large, model="c")), 400
    )
    with ThreadPoolExecutor(6) as pool:
        statuses = [one.status_code for one in pool.map(lambda _: post(url_, body), range(6))]
    assert statuses.count(200) == 2 and statuses.count(429) == 4
    assert post(url_, body | {"max_tokens": 1}).status_code == 200  # the room is free again
    many = [data_url(picture_file(Image.new("RGB", (2, 2))))] * 33
    assert "at most 32" in refused(post(url_, about("what?", *many, model="c")), 400)


def test_messages_hold_no_text_of_the_client(url_: str) -> None:
    secret = "my secret question"
    for change in ({"temperature": secret}, {"n": secret}, {"stop": [{secret: 1}]},
                   {"messages": [{"role": secret, "content": secret}]},
                   {"messages": [{"role": "user", "content": {secret: secret}}]}):  # fmt: skip
        response = post(url_, json.dumps(about("x", model="c") | change).encode())
        assert secret not in refused(response, 400)
