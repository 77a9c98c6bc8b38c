"""Who may ask: holders of a key, or without keys this computer's own programs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from tests.serve.server import Counting, about, post, raw, refused, serving
from vqa.errors import InputError
from vqa.serve.access import ApiKeys
from vqa.serve.http_app import ServerOptions

KEY = "sk-0123456789abcdef"
PATHS = ("/v1/models", "/v1/models/c", "/metrics", "/openapi.json", "/none", "/health/", "//health")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with two keys."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"# ours\n\n{KEY}\n  second-key-of-somebody  \n")
    options = ServerOptions("0.0.0.0", ApiKeys.of_file(file))
    with serving({"c": Counting()}, options) as url:
        yield url


@pytest.fixture(scope="module")
def opened() -> Iterator[str]:
    """A server without keys."""
    with serving({"c": Counting()}) as url:
        yield url


@pytest.mark.parametrize("given", [
    None, "", "Bearer", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}",
    "Bearer # ours", f"Bearer {KEY.upper()}", f"Bearer {KEY}\tx", f"Bearer {KEY},{KEY}",
    "Bearer " + "x" * 10_000, "Bearer \xff\xfe",
])  # fmt: skip
def test_a_wrong_key_is_refused_everywhere(locked: str, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    bodies = []
    for path in PATHS:
        response = httpx2.get(f"{locked}{path}", headers=headers)  # type: ignore[arg-type]
        bodies.append(refused(response, 401))
        assert response.headers["www-authenticate"] == "Bearer"
    response = httpx2.post(
        f"{locked}/v1/chat/completions",
        content=b"{" * 1000,
        headers=headers,  # type: ignore[arg-type]
    )
    bodies.append(refused(response, 401))
    assert len(set(bodies)) == 1  # whatever is there
    assert KEY not in response.text and "second" not in response.text


def test_two_keys_are_no_key(locked: str) -> None:
    head = "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong-key-wrong-key\r\n"
    assert b" 401 " in raw(locked, f"{head}Connection: close\r\n\r\n".encode())


def test_a_right_key_opens(locked: str) -> None:
    body = about("count", model="c", max_tokens=2)
    for key in (KEY, "second-key-of-somebody"):
        with openai.OpenAI(base_url=f"{locked}/v1", api_key=key, max_retries=0) as client:
            assert client.models.list().data[0].id == "c"
            assert client.chat.completions.create(**body).choices[0].message.content == "0 1 "
    with (
        openai.OpenAI(base_url=f"{locked}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="valid API key"),
    ):
        client.models.list()
    for path in ("/health", "/ready"):
        assert httpx2.get(f"{locked}{path}").status_code == 200
    named = httpx2.get(
        f"{locked}/v1/models", headers={"Host": "vqa", "Authorization": f"bearer {KEY}"}
    )
    assert named.status_code == 200  # by whatever name a container has


def test_a_wrong_key_takes_as_long_wherever_it_is_wrong() -> None:
    keys = ApiKeys([f"{i:040}" for i in range(1000)])

    def median(key: str) -> float:
        times = []
        for _ in range(51):
            began = time.perf_counter()
            keys.has(key)
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    first, last, none = median(f"{0:040}"), median(f"{999:040}"), median("x" * 40)
    assert max(first, last, none) < 2 * min(first, last, none)


@pytest.mark.parametrize(("content", "says"), [
    (b"", "holds no key"),
    (b"# note\n\n", "holds no key"),
    (b"short-key\n", "line 1 is no key"),
    (b"# x\n" + KEY.encode() + b"\nwith a space in it\n", "line 3 is no key"),
    ("schlüssel-mit-umlaut".encode(), "line 1 is no key"),
    (b"\xff\xfe\x00", "cannot be read: no text"),
])  # fmt: skip
def test_a_file_of_keys_that_is_none(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        ApiKeys.of_file(file)
    assert KEY not in str(caught.value) and "short-key" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        ApiKeys.of_file(tmp_path)


# {port} is the server's own
@pytest.mark.parametrize(("host", "origin"), [
    ("evil.example:{port}", "http://evil.example:{port}"),  # DNS rebinding
    ("evil.example", None),
    ("127.0.0.1.nip.io:{port}", None),
    ("localhost.evil.example:{port}", None),
    ("0.0.0.0:{port}", None),
    ("192.168.1.5:{port}", None),
    ("evil@localhost:{port}", None),
    ("127.0.0.1:{port}", "http://127.0.0.1:3000"),  # a page on another port
    ("127.0.0.1:{port}", "https://evil.example"),
    ("127.0.0.1:{port}", "null"),
    ("127.0.0.1:{port}", "http://127.0.0.1:{port}@evil.example"),
])  # fmt: skip
def test_web_pages_cannot_ask_an_open_server(opened: str, host: str, origin: str | None) -> None:
    port = opened.rpartition(":")[2]
    headers = {"Host": host.format(port=port)}
    if origin:
        headers["Origin"] = origin.format(port=port)
    body = about("count", model="c", max_tokens=2)
    refused(post(opened, body, **headers), 403)
    for path in (*PATHS, "/health"):
        refused(httpx2.get(f"{opened}{path}", headers=headers), 403)
    preflight = httpx2.options(f"{opened}/v1/chat/completions", headers=headers)
    assert "access-control-allow-origin" not in preflight.headers


def test_programs_of_this_computer_can(opened: str) -> None:
    port = opened.rpartition(":")[2]
    body = about("count", model="c", max_tokens=2)
    for name in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST"):
        assert post(opened, body, Host=f"{name}:{port}").status_code == 200
    own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    assert post(opened, body, **own).status_code == 200
    for site in ("cross-site", "same-site"):
        refused(post(opened, body, **{"Sec-Fetch-Site": site}), 403)
    assert b" 400 " in raw(opened, b"GET /v1/models HTTP/1.1\r\n\r\n")
