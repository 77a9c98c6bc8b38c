"""Start `vqa app` for tests, with the parrot in place of a model."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Python runs a `sitecustomize` at its start: so the server's process gets the parrot too.
CUSTOMIZE = """
import sys
sys.path.append({root!r})

def build(choice):
    import time
    from tests.app.fake import Parrot
    time.sleep({load_seconds})
    return Parrot()

import vqa.loading
vqa.loading.load_choice = build
"""
COMMAND = "from vqa.cli import main; main()"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    directory: Path,
    load_seconds: float = 0,
    host: str = "127.0.0.1",
    parrot: bool = True,
    options: Sequence[str] = (),
    customize: str = "",
) -> Iterator[tuple[str, Path]]:
    """The page, started in `directory` as `vqa app` does it: its address, and the server's log.

    It answers with the parrot, or with the model that ships. Its process runs `customize` first.
    """
    custom = directory / "customize"
    custom.mkdir()
    text = CUSTOMIZE.format(root=str(ROOT), load_seconds=load_seconds) if parrot else ""
    (custom / "sitecustomize.py").write_text(customize + text)
    port, log = free_port(), directory / "server.log"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(custom), str(ROOT)]),
        "STREAMLIT_SERVER_HEADLESS": "true",  # no browser is opened
        **({"VQA_CACHE": str(directory / "cache")} if parrot else {}),
        "XDG_DATA_HOME": str(directory / "data"),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-P", "-c", COMMAND, "app", "--port", str(port), "--host", host]
    command += options
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=output, stderr=output
        )
    url = f"http://{'[::1]' if host == '::1' else '127.0.0.1'}:{port}"
    try:
        _wait(f"{url}/_stcore/health", process, log)
        yield url, log
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        finally:
            process.kill()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url, timeout=2)
            return
        time.sleep(0.1)
    raise AssertionError(f"the server did not come up: {log.read_text()}")
