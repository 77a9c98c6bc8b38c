"""A package index that gives too much, and a fetch whose process is killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from vqa.errors import VQAError
from vqa.utils.wheels import Wheel, fetch_wheel

_WHEEL = Wheel("tiny", "1.0", "tiny-1.0-py3-none-any.whl", "0" * 64, 3 << 20)
_BLOCK = bytes(1 << 16)


class _Index(ThreadingHTTPServer):
    """Gives one wheel, of `length` bytes or without an end, with a pause behind each block."""

    daemon_threads = True
    length: int | None = None
    content = b""  # given in place of zeros
    pause = 0.0
    given = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Index

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path.startswith("/simple/"):
            page = f'<a href="/{_WHEEL.file}">{_WHEEL.file}</a>'.encode()
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
            return
        if self.server.content:
            self.send_header("Content-Length", str(len(self.server.content)))
            self.end_headers()
            self.wfile.write(self.server.content)
            return
        if self.server.length is not None:
            self.send_header("Content-Length", str(self.server.length))
        self.end_headers()
        try:
            while self.server.length is None or self.server.given < self.server.length:
                self.wfile.write(_BLOCK)
                self.server.given += len(_BLOCK)
                time.sleep(self.server.pause)
        except OSError:  # the other side has gone
            return

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[_Index]:
    """A package index on this machine, which pip uses."""
    with _Index(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
        monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
        yield server
        server.shutdown()


@pytest.mark.parametrize("length", [None, 40 << 20])
def test_a_wheel_that_is_too_large_stops_at_its_known_size(
    index: _Index, length: int | None, tmp_path: Path
) -> None:
    index.length = length
    largest = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.005):
            sizes = [_size(path) for path in tmp_path.rglob("*")]
            largest = max([largest, *sizes])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(VQAError, match=r"larger file than the 3,145,728 bytes") as caught:
            fetch_wheel(_WHEEL, tmp_path / "wheels")
    finally:
        done.set()
        watcher.join()
    assert "\n" not in str(caught.value)
    assert 0 < largest <= _WHEEL.size + (1 << 20)
    assert list((tmp_path / "wheels").iterdir()) == []


def test_a_wheel_of_its_size_passes(index: _Index, tmp_path: Path) -> None:
    path = tmp_path / _WHEEL.file
    information = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/weights", bytes(3 << 20))
        archive.writestr(
            f"{information}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
        )
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    index.content = path.read_bytes()
    digest = hashlib.sha256(index.content).hexdigest()
    wheel = replace(_WHEEL, sha256=digest, size=len(index.content))
    assert fetch_wheel(wheel, tmp_path / "wheels").read_bytes() == index.content


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_pip_ends_with_its_parent(index: _Index, tmp_path: Path, how: signal.Signals) -> None:
    index.pause = 0.05
    program = (
        "import sys, pathlib; from vqa.utils.wheels import Wheel, fetch_wheel\n"
        f"fetch_wheel({_WHEEL!r}, pathlib.Path(sys.argv[1]))"
    )
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "wheels")],
        cwd=root,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while index.given < 3 * len(_BLOCK) and time.monotonic() < deadline:
        time.sleep(0.02)
    (child,) = psutil.Process(process.pid).children(recursive=True)
    assert "pip_child.py" in " ".join(child.cmdline())
    process.send_signal(how)
    process.wait(30)
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    # what it had begun is removed by the next fetch
    assert any((tmp_path / "wheels").iterdir())
    index.pause, index.length = 0.0, 40 << 20
    with pytest.raises(VQAError):
        fetch_wheel(_WHEEL, tmp_path / "wheels")
    assert list((tmp_path / "wheels").iterdir()) == []
