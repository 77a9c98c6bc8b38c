"""Pictures behind URLs: public addresses alone, on no redirect and by no spelling any other."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from tests.serve.server import Counting, about, data_url, picture_file, post, refused, serving
from vqa.serve import picture_urls
from vqa.serve.http_app import ServerOptions
from vqa.serve.picture_urls import PublicFetcher, is_public

PICTURE = picture_file(Image.new("RGB", (20, 10), "red"))


class Web(BaseHTTPRequestHandler):
    """A web site with a picture, redirects and what is no picture; it counts who comes."""

    visits: list[str] = []

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer by the path."""
        self.visits.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                time.sleep(0.05)
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
            return
        content = {
            "/red.png": PICTURE,
            "/%C3%A4pfel%20rot.png?f=%C3%A4&n=1%2C2": PICTURE,
            "/page": b"<html>secret of the intranet</html>",
            "/large": PICTURE + bytes(60_000),
        }.get(self.path)
        self.send_response(200 if content else 404)
        self.end_headers()
        self.wfile.write(content or b"secret of the intranet")


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def strict() -> Iterator[str]:
    """A server that fetches from public addresses, as `--allow-urls` makes it."""
    with serving({"c": Counting()}, ServerOptions(fetch=PublicFetcher())) as url:
        yield url


@pytest.fixture
def lenient() -> Iterator[str]:
    """One that takes 127.0.0.1 for public, and all else for what it is."""
    fetch = PublicFetcher(lambda address: address == "127.0.0.1" or is_public(address))
    with serving({"c": Counting()}, ServerOptions(fetch=fetch)) as url:
        yield url


def ask(server: str, url: str) -> Any:
    return post(server, about("what?", url, model="c", max_tokens=1))


REFUSED = "picture 1: the URL gives no picture from a public address"


@pytest.mark.parametrize("host", [
    "127.0.0.1", "127.1", "127.0.0.2", "0.0.0.0", "0", "2130706433", "0x7f000001", "0x7f.1",
    "0177.0.0.1", "017700000001", "localhost", "localhost.", "LOCALHOST", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]",
    "[fc00::1]", "[fd12::1]", "[fec0::2]", "[ff02::1]", "10.0.0.1", "172.16.0.1", "192.168.1.1",
    "100.64.0.1", "169.254.169.254", "[fd00:ec2::254]", "224.0.0.1", "255.255.255.255", "240.0.0.1",
    "198.18.0.1", "192.0.0.8", "１２７.0.0.1", "127。0。0。1", "ⓛocalhost", "example.org@127.0.0.1",
    "127.0.0.1#@example.org", "127.0.0.1\\@example.org", "127.0.0.1%00.example.org", "", "%31",
])  # fmt: skip
def test_no_private_address_is_reached(strict: str, site: str, host: str) -> None:
    port = site.rpartition(":")[2]
    before = len(Web.visits)
    for scheme in ("http", "HTTP"):
        response = ask(strict, f"{scheme}://{host}:{port}/red.png")
        assert refused(response, 400) == REFUSED
    assert len(Web.visits) == before


def test_all_refusals_look_alike(strict: str, site: str) -> None:
    """They show neither whether a port is open nor whether a name is known."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    urls = [site, f"http://127.0.0.1:{closed}/", "http://no-such-name.invalid/", "http://x:99999/",
            "https://127.0.0.1/", "http://[", "http://a b/", "http://" + "x" * 5000]  # fmt: skip
    assert {refused(ask(strict, url), 400) for url in urls} == {REFUSED}


def test_a_name_that_resolves_to_a_private_address(
    strict: str, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the owner of a domain may set it up; one private address among public ones is enough."""
    port = site.rpartition(":")[2]
    resolve, before = socket.getaddrinfo, len(Web.visits)
    names = {
        "rebind.example": ["127.0.0.1"],
        "mixed.example": ["93.184.215.14", "127.0.0.1"],
        "metadata.example": ["169.254.169.254"],
        "six.example": ["::1"],
    }

    def resolved(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host in names:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in names[host]]
        return resolve(host, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    for name in names:
        assert refused(ask(strict, f"http://{name}:{port}/red.png"), 400) == REFUSED
    assert len(Web.visits) == before


def test_the_address_that_was_checked_is_the_one_that_is_reached(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that changes between two questions (DNS rebinding) is asked about once."""
    port, answers = site.rpartition(":")[2], iter(["127.0.0.1"])
    resolve = socket.getaddrinfo

    def resolved(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host == "rebind.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]
        assert host in ("127.0.0.1", None)
        return resolve(host, port, *args, **more)

    fetch = PublicFetcher(lambda address: address == "127.0.0.1")
    with serving({"c": Counting()}, ServerOptions(fetch=fetch)) as url:
        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        assert ask(url, f"http://rebind.example:{port}/red.png").status_code == 200


def test_a_public_picture_is_read(lenient: str, site: str) -> None:
    for path in ("/red.png", "/to//red.png", f"/to/{site}/red.png", "/to//to//to//red.png"):
        assert ask(lenient, site + path).status_code == 200
    for path in ("/page", "/none"):
        message = refused(ask(lenient, site + path), 400)
        assert "secret" not in message and "html" not in message.lower()


def test_letters_that_a_url_writes_otherwise(lenient: str, site: str) -> None:
    """As people paste them, and as servers redirect to them."""
    for path in ("/äpfel rot.png?f=ä&n=1%2C2", "/%C3%A4pfel%20rot.png?f=%C3%A4&n=1%2C2#top"):
        assert ask(lenient, site + path).status_code == 200
        assert Web.visits[-1] == "/%C3%A4pfel%20rot.png?f=%C3%A4&n=1%2C2"
    assert ask(lenient, f"{site}/to//äpfel%20rot.png?f=%C3%A4&n=1%2C2").status_code == 200


def test_slow_urls_hold_up_nobody_else(lenient: str, site: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(ask, lenient, f"{site}/slow") for _ in range(3)]
        while Web.visits.count("/slow") < 3:
            time.sleep(0.01)
        began = time.perf_counter()
        assert ask(lenient, data_url(PICTURE)).status_code == 200
        assert time.perf_counter() - began < 2  # they take five seconds
        assert not any(one.done() for one in slow)
    assert {one.result().status_code for one in slow} == {400}  # what came was no picture


@pytest.mark.parametrize("target", [
    "http://127.0.0.2:{port}/red.png", "http://[::1]:{port}/red.png", "http://169.254.169.254/",
    "http://10.0.0.1/", "//127.0.0.2:{port}/red.png", "file:///etc/passwd", "ftp://127.0.0.1/",
    "data:image/png;base64,aGk=", "http://x@127.0.0.1:{port}/red.png", "gopher://127.0.0.1/",
    "/to//to//to//to//red.png",  # more than are followed
])  # fmt: skip
def test_no_redirect_leads_elsewhere(lenient: str, site: str, target: str) -> None:
    target = target.format(port=site.rpartition(":")[2])
    before = len(Web.visits)
    assert refused(ask(lenient, f"{site}/to/{target}"), 400) == REFUSED
    assert len(Web.visits) <= before + 4
    assert "/red.png" not in Web.visits[before:]


def test_downloads_are_bounded(lenient: str, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_urls, "MAX_DOWNLOAD", 50_000)
    assert "more than 50,000 bytes" in refused(ask(lenient, f"{site}/large"), 400)
    monkeypatch.setattr(picture_urls, "DOWNLOAD_SECONDS", 0.5)
    began = time.perf_counter()
    assert refused(ask(lenient, f"{site}/slow"), 400) == REFUSED
    assert time.perf_counter() - began < 3


def test_without_leave_nothing_is_fetched(site: str) -> None:
    with serving({"c": Counting()}) as url:
        before = len(Web.visits)
        assert "fetches no URLs" in refused(ask(url, f"{site}/red.png"), 400)
        assert len(Web.visits) == before


@pytest.mark.parametrize(("address", "public"), [
    ("93.184.215.14", True), ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True), ("8.8.8.8", True),
    ("100.64.0.1", False), ("::ffff:8.8.8.8", False), ("64:ff9b::808:808", False),
    ("2002:808:808::1", False), ("::8.8.8.8", False), ("224.0.0.1", False), ("fe80::1%eth0", False),
    ("0.0.0.1", False), ("192.0.2.1", False), ("2001:db8::1", False), ("::", False),
    ("fec0::2", False),
])  # fmt: skip
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) == public
