"""What holds for every test: no network but this machine, and no touching of the user's cache."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# last digits depend on the number of threads, and processes that tests start have one
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported
os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["STREAMLIT_RUNNER_POST_SCRIPT_GC"] = "false"  # as `vqa app` has it

FUZZ_EXAMPLES = 25  # of each property test in an ordinary run: a second or two


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of our own."""
    parser.addoption("--screenshots", metavar="DIR", help="where browser tests leave pictures")
    parser.addoption(
        "--fuzz-examples",
        type=int,
        metavar="N",
        help="hostile inputs that each property test marked `fuzz` tries, drawn anew each time "
        f"(by default {FUZZ_EXAMPLES}, always the same ones)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs Chromium or much time unless it is asked for, and a GPU without one.

    Of the tests marked `fuzz`, property tests always run, with few examples or as many as are asked
    for; the others start a process for each input.
    """
    skipped = {
        name: pytest.mark.skip(reason=f"run apart: pytest -m {name}")
        for name in ("browser", "slow")
        if name not in (config.getoption("markexpr") or "")
    }
    fuzzing = "fuzz" in (config.getoption("markexpr") or "")
    examples = config.getoption("fuzz_examples") or FUZZ_EXAMPLES
    for item in items:
        if item.get_closest_marker("fuzz") is None:
            continue
        if not getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            if not fuzzing:
                item.add_marker(pytest.mark.skip(reason="run apart: pytest -m fuzz"))
        elif item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(600 + 5 * examples))
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            skipped["gpu"] = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        for name, skip in skipped.items():
            if item.get_closest_marker(name):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _own_cache(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Tests with the base weights share the user's cache; all others get an empty one."""
    if request.node.get_closest_marker("weights") is None:
        directory = tmp_path_factory.getbasetemp() / "cache"
        monkeypatch.setenv("VQA_CACHE", str(directory))


@pytest.fixture(autouse=True)
def _own_history(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the user's conversations."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to another machine is a failure of the test."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"  # else a local socket
        if host not in ("localhost", "127.0.0.1", "::1"):
            raise AssertionError(f"a test wants to connect to {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@pytest.fixture(autouse=True)
def _own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's AppTest leaves its page as `__main__`, which new processes would run again."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def examples() -> Path:
    """The pictures that come with the project."""
    return Path(__file__).parents[1] / "examples"


def pytest_configure(config: pytest.Config) -> None:
    # a shell's background job begins with Ctrl+C ignored, one of nohup with SIGHUP, and so would
    # all that the tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    examples = config.getoption("fuzz_examples")
    settings.register_profile(
        "fuzz",
        max_examples=examples or FUZZ_EXAMPLES,
        derandomize=examples is None,
        deadline=None,  # `tests.fuzz.limits` has one of the processor's time
        suppress_health_check=list(HealthCheck),
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tell what hostile inputs took, where a number of them was asked for."""
    from tests.fuzz.limits import SPENT

    if config.getoption("fuzz_examples"):
        terminalreporter.section("hostile inputs")
        for name, spent in SPENT.items():
            terminalreporter.write_line(f"{name}: {spent}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for tests of pages."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "install Chromium (Debian: apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
