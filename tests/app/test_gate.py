"""The page is for the browser it is meant for: names, origins, pictures, and no look outside."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from streamlit import App
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage

from tests.app.client import ask, cookie, pictures, shown, websocket
from tests.app.server import serving
from vqa.utils.allowed_hosts import AllowedHosts

# {port} is the page's own
FOREIGN = (  # Host, Origin
    ("evil.example:{port}", "http://evil.example:{port}"),  # DNS rebinding
    ("evil.example", None),
    ("127.0.0.1.nip.io:{port}", "http://127.0.0.1.nip.io:{port}"),
    ("localhost.evil.example:{port}", "http://localhost.evil.example:{port}"),
    ("0.0.0.0:{port}", "http://0.0.0.0:{port}"),
    ("192.168.1.5:{port}", "http://192.168.1.5:{port}"),
    ("evil@localhost:{port}", "http://evil@localhost:{port}"),
    ("127.0.0.1:{port}", "http://127.0.0.1:3000"),  # a page on another port
    ("localhost:{port}", "http://127.0.0.1:{port}"),
    ("127.0.0.1:{port}", "http://localhost"),
    ("127.0.0.1:{port}", "https://evil.example"),
    ("127.0.0.1:{port}", "null"),  # a frame in a sandbox, a file
    ("127.0.0.1:{port}", "https://127.0.0.1:{port}"),
    ("127.0.0.1:{port}", "http://127.0.0.1:{port}@evil.example"),
)
OWN = ("localhost", "127.0.0.1", "[::1]", "LOCALHOST")
PARTS = ("/", "/_stcore/health", "/_stcore/host-config", "/media/x.jpg", "/component/x/index.html",
         "/static/js/none.js", "/_stcore/upload_file/a/b")  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page as it is by default."""
    with serving(tmp_path_factory.mktemp("server")) as (url, log):
        yield url
        assert "Traceback" not in log.read_text()


def filled(url: str, text: str) -> str:
    return text.format(port=url.rpartition(":")[2])


@pytest.mark.parametrize(("host", "origin"), FOREIGN)
def test_foreign_names_and_pages_are_refused(url: str, host: str, origin: str | None) -> None:
    host, origin = filled(url, host), filled(url, origin) if origin else None
    assert websocket(url, host, origin) == 403
    more = {"Origin": origin} if origin else {}
    for part in PARTS:
        status, headers, body = ask(url, part, Host=host, **more)
        assert status == 403, part
        assert body.startswith(b"vqa: ") and body.count(b"\n") == 1
        assert "set-cookie" not in headers and "access-control-allow-origin" not in headers
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert ask(url, PARTS[-1], method, Host=host, **more)[0] == 403


@pytest.mark.parametrize("name", OWN)
def test_the_page_works_by_its_own_names(url: str, name: str) -> None:
    port = url.rpartition(":")[2]
    for host in (f"{name}:{port}", name, f"{name}:9999"):  # of a tunnel, too
        assert websocket(url, host, f"http://{host.lower()}") == 101
        status, _, body = ask(url, Host=host)
        assert status == 200 and b"<title>" in body
    assert websocket(url, f"{name}:{port}") == 101  # a program


def test_one_host_is_needed(url: str) -> None:
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as line:
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 403 " in line.recv(1000).partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # <img src="http://127.0.0.1:8501/media/..."> of a web page, which names no origin
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 403),  # another port
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate",
          "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate",
          "Sec-Fetch-Dest": "document"}, 200),  # a link
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200),
    ],
)  # fmt: skip
def test_parts_are_not_shown_in_other_pages(url: str, headers: dict[str, str], status: int) -> None:
    assert ask(url, **headers)[0] == status


def test_nothing_comes_from_elsewhere(url: str) -> None:
    _, headers, _ = ask(url)
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "img-src 'self' data: blob:;" in policy
    assert "frame-ancestors 'self'" in policy
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path", ["/_stcore/metrics", "/_stcore/metrics/", "/_stcore/agent/openapi.json",
             "/_stcore/agent/interact", "/_stcore/agent/mcp"],
)  # fmt: skip
def test_what_the_server_says_of_itself_is_closed(url: str, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert ask(url, path, method)[0] == 404
    assert ask(url, "/_stcore/health")[0] == 200


def test_pictures_are_given_to_the_browser_that_was_shown_them(url: str) -> None:
    one, other = cookie(url), cookie(url)
    mine, theirs = pictures(url, one), pictures(url, other)
    status, headers, content = ask(url, mine[0], Cookie=one)
    assert status == 200 and content.startswith(b"\xff\xd8")
    assert headers["cache-control"] == "private"
    assert ask(url, theirs[0], Cookie=other)[2] == content  # the same example
    assert set(mine).isdisjoint(theirs)
    plain = "/media/" + mine[0].rpartition("/")[2]  # Streamlit's own address
    for path, sent in ((mine[0], other), (mine[0], ""), (theirs[0], one), (plain, one)):
        assert ask(url, path, Cookie=sent)[0] == 404
        assert ask(url, path, "HEAD", Cookie=sent)[0] == 404
    forged = mine[0].replace(mine[0].split("/")[2], "0" * 64)
    assert ask(url, forged, Cookie=one)[0] == 404


def test_a_browser_without_cookies_is_told_that_it_gets_no_pictures(url: str) -> None:
    assert any("keeps no cookies" in message for message in shown(url))
    for path in pictures(url, ""):
        assert ask(url, path)[0] == 404
    for message in shown(url, cookie(url)):
        assert "keeps no cookies" not in message
        if "/media/" in message:
            break


def test_the_names_of_streamlit_that_the_store_of_pictures_needs() -> None:
    assert callable(App._create_runtime)
    storage = MemoryMediaFileStorage("/media")
    assert MediaFileManager(storage)._storage is storage


WATCH = """
import socket
open({file!r}, "w").close()
def watched(function):
    def call(*args, **kwargs):
        where = str(args)
        if not any(own in where for own in ("127.0.0.1", "::1", "localhost", "AF_UNIX", "0.0.0.0")):
            with open({file!r}, "a") as log:
                log.write(f"{{function.__name__}} {{where}}\\n")
        return function(*args, **kwargs)
    return call
socket.getaddrinfo = watched(socket.getaddrinfo)
class Socket(socket.socket):
    connect = watched(socket.socket.connect)
socket.socket = Socket
"""


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A page for others, in a process that writes down where it looks outside."""
    directory = tmp_path_factory.mktemp("others")
    outside = directory / "outside.log"
    options = ["--allow-host", "vqa.example", "--allow-host", "Chat.example:8443"]
    watch = WATCH.format(file=str(outside))
    with serving(directory, host="0.0.0.0", options=options, customize=watch) as (url, _):
        yield url, outside


def test_nothing_is_looked_up_outside(others: tuple[str, Path]) -> None:
    url, outside = others
    for host, origin in (
        ("evil.example", "http://evil.example"),
        ("127.0.0.1", "http://other.example"),
        (urlsplit(url).netloc, url),
        (urlsplit(url).netloc, "https://vqa.example"),  # a proxy that does not pass the name on
    ):
        websocket(url, host, origin)
    assert pictures(url, cookie(url))
    assert outside.read_text() == ""


def test_a_page_for_others_by_the_machines_names_and_those_that_are_named(
    others: tuple[str, Path],
) -> None:
    url, _ = others
    port = url.rpartition(":")[2]
    own = socket.gethostname().lower()
    for host in (f"127.0.0.1:{port}", f"{own}:{port}", f"192.168.1.5:{port}", "[fe80::1]",
                 f"localhost:{port}", "vqa.example", "chat.example:8443"):  # fmt: skip
        assert websocket(url, host, f"http://{host}") == 101, host
        assert ask(url, Host=host)[0] == 200
    for host, origin in (("127.0.0.1", "https://vqa.example"),
                         ("vqa.example", "https://vqa.example"),
                         ("127.0.0.1", "https://chat.example:8443")):  # fmt: skip
        assert websocket(url, host, origin) == 101, origin
    for host, origin in (("evil.example", "http://evil.example"),
                         ("vqa.example", "https://vqa.example:8080"),
                         ("127.0.0.1", "https://chat.example"),
                         ("a.vqa.example", "http://a.vqa.example")):  # fmt: skip
        assert websocket(url, host, origin) == 403, host
    assert b"--allow-host evil.example\n" in ask(url, Host="evil.example")[2]


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="needs IPv6")
def test_a_page_that_listens_on_ipv6(tmp_path: Path) -> None:
    with serving(tmp_path, host="::1") as (url, _):
        own = urlsplit(url).netloc
        assert own.startswith("[::1]:")
        assert websocket(url, own, url) == 101
        assert ask(url, Host=own)[0] == 200
        assert websocket(url, "evil.example", "http://evil.example") == 403


def test_the_name_given_to_host() -> None:
    for host, sent in (("MyBox", "mybox:8501"), ("::1", "[::1]:8501"), ("127.0.0.2", "127.0.0.2")):
        assert AllowedHosts(host, (), local=True).has(sent)
        assert not AllowedHosts("127.0.0.1", (), local=True).has("mybox:8501")


@pytest.mark.parametrize("local", [True, False])
def test_names_that_are_no_names(local: bool) -> None:
    names = AllowedHosts("127.0.0.1", (), local)
    for host in ("", ":80", "localhost:", "localhost:x", "localhost/evil", "local host", "a..b",
                 "localhost\n", "localhost,evil.example", "127.0.0.1:123456", "[::1",
                 "localhost.", "evil.example", "127.0.0.1.evil.example", "2130706433", "127.1",
                 "0x7f.1", "ｌocalhost", "[::1].evil.example"):  # fmt: skip
        assert not names.has(host), host
