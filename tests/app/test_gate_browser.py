"""Other web pages and other browsers, at the page of this computer."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser
# What a web page can try: a socket, a picture, a frame, a question and an upload.
EVIL = """<!doctype html><title>evil</title><script>
const target = new URLSearchParams(location.search).get("target");
const picture = new URLSearchParams(location.search).get("picture");
const tried = {};
const attempt = (name, act) => new Promise(done => act(
  () => { tried[name] = "yes"; done(); }, () => { tried[name] = "no"; done(); }));
const all = Promise.all([
  attempt("socket", (yes, no) => {
    const socket = new WebSocket(target.replace("http", "ws") + "/_stcore/stream");
    socket.onopen = yes; socket.onerror = no; }),
  attempt("picture", (yes, no) => {
    const image = new Image(); image.onload = yes; image.onerror = no;
    image.src = target + picture; }),
  attempt("script", (yes, no) => {
    const script = document.createElement("script"); script.onload = yes; script.onerror = no;
    script.src = target + "/"; document.head.append(script); }),
  attempt("blind", (yes, no) => fetch(target + "/_stcore/health", {mode: "no-cors"}).then(yes, no)),
  attempt("read", (yes, no) =>
    fetch(target + "/_stcore/health").then(r => r.ok ? yes() : no(), no)),
  attempt("upload", (yes, no) => fetch(target + "/_stcore/upload_file/a/b", {
    method: "PUT", body: "x"}).then(r => r.ok ? yes() : no(), no)),
]).then(() => { document.title = "done " + JSON.stringify(tried); });
</script><iframe></iframe><script>
document.querySelector("iframe").src = target + "/";
</script>"""


@pytest.fixture
def evil(tmp_path: Path) -> Iterator[int]:
    """The port of a web server of somebody else's."""
    (tmp_path / "index.html").write_text(EVIL)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def picture(page: Page, url: str) -> str:
    """The path of the first picture that the page shows."""
    page.goto(url)
    picture = page.locator("[data-testid=stImage] img").first
    expect(picture).to_be_visible()
    page.wait_for_function(
        "image => image.naturalWidth > 0", arg=picture.element_handle(), polling=100
    )
    source = picture.get_attribute("src") or ""
    return "/media/" + source.partition("/media/")[2]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_page_on_another_port_gets_nothing(
    browser: Browser, url: str, evil: int, name: str
) -> None:
    context = browser.new_context()  # which has the page open, and so its cookie
    path = picture(context.new_page(), url)
    page = context.new_page()
    page.goto(f"http://{name}:{evil}/?target={url}&picture={path}")
    page.wait_for_function("document.title.startsWith('done')", polling=100)
    assert "yes" not in page.title(), page.title()
    framed = page.frames[1]
    assert "Ask about" not in framed.content() and "stApp" not in framed.content()
    page.evaluate(f"location.href = {url!r}")  # a link is followed
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_visible()
    context.close()


def test_a_name_that_leads_here_gets_nothing(browser: Browser, url: str) -> None:
    port = url.rpartition(":")[2]
    rebound = browser.browser_type.launch(
        executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
        args=["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"],
    )
    page = rebound.new_page()
    answer = page.goto(f"http://evil.example:{port}/")
    assert answer is not None and answer.status == 403
    assert f"not served as evil.example:{port}" in page.content()
    rebound.close()


def test_a_picture_is_for_one_browser(browser: Browser, url: str) -> None:
    mine, theirs = browser.new_context(), browser.new_context()
    path = picture(mine.new_page(), url)
    other = theirs.new_page()
    other.goto(url)
    for context, status in ((mine, 200), (theirs, 404)):
        assert context.request.get(url + path).status == status
    answer = other.goto(url + path)
    assert answer is not None and answer.status == 404
    mine.close()
    theirs.close()


def test_the_page_itself_loads_no_picture_from_elsewhere(
    browser: Browser, url: str, evil: int, tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "a.png")
    load = """source => new Promise(done => {
        const image = new Image();
        image.onload = () => done("loaded");
        image.onerror = () => done("refused");
        image.src = source; })"""
    page = browser.new_page()
    own = url + picture(page, url)
    for source, outcome in ((f"http://127.0.0.1:{evil}/a.png", "refused"), (own, "loaded")):
        assert page.evaluate(load, source) == outcome
    page.goto(f"http://127.0.0.1:{evil}/")
    assert page.evaluate(load, f"http://127.0.0.1:{evil}/a.png") == "loaded"  # it is there
    page.close()
