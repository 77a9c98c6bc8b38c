"""`vqa app` as a user starts it, in a directory with files of the user's own."""

from __future__ import annotations

import os
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

import vqa.cli.page as launcher
from tests.app.server import free_port, serving
from vqa.chat import page_options
from vqa.chat.page_options import ModelChoice
from vqa.errors import InputError

MODEL_OF_OTHERS = "raise SystemExit('the wrong module was imported')"


def clutter(directory: Path) -> None:
    """Files of a user's own that are called as ours, or as what we use."""
    for name in ("app.py", "page.py", "training.py", "streamlit.py", "typer.py"):
        (directory / name).write_text(MODEL_OF_OTHERS)
    for name in ("app", "vqa", "training", "configs"):
        (directory / name).mkdir()
        (directory / name / "__init__.py").write_text(MODEL_OF_OTHERS)


def listening(port: int) -> list[str]:
    """The local addresses that listen on `port`, as Linux writes them."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows += Path("/proc/net/tcp6").read_text().splitlines()[1:]
    local = [row.split()[1] for row in rows if row.split()[3] == "0A"]
    return [address for address, _, hexed in (a.rpartition(":") for a in local)
            if int(hexed, 16) == port]  # fmt: skip


def test_the_page_is_served_to_this_computer_only_from_any_directory(tmp_path: Path) -> None:
    clutter(tmp_path)
    with serving(tmp_path) as (url, log):
        assert "<title>" in urllib.request.urlopen(url, timeout=5).read().decode()
        if sys.platform == "linux":
            assert listening(int(url.rpartition(":")[2])) == ["0100007F"]
    text = log.read_text()
    assert f"The page: {url} (Ctrl+C ends it)" in text
    assert "Traceback" not in text
    assert "wrong module" not in text


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    with serving(tmp_path) as (url, _):
        port = int(url.rpartition(":")[2])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))  # free again


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What would have been run in place of this process."""
    calls: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _, command, environment: calls.append(
        (command, environment)
    ))  # fmt: skip
    return calls


def test_options_reach_the_page(
    started: list[tuple[list[str], dict[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, file in (("run", "adapter_config.json"), ("model", "config.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    monkeypatch.chdir(tmp_path)
    port = free_port()
    history = tmp_path / "chats"
    launcher.app_command(
        "model", "run", port, "127.0.0.1", "cpu", "float32", "8bit", "auto", 0.4, history
    )
    command, environment = started[0]
    monkeypatch.setattr(os, "environ", environment)
    assert page_options.page_options() == page_options.PageOptions(
        ModelChoice("model", "run", "cpu", "float32", "8bit", "auto"), 0.4, str(history), local=True
    )
    assert f"--server.port={port}" in command
    assert "--browser.gatherUsageStats=false" in command
    assert "--runner.postScriptGC=false" in command


def test_names_of_a_proxy_reach_the_page_which_then_is_for_others(
    started: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["VQA.example", "büro.example:8443", "[2001:DB8::1]"]
    launcher.app_command(port=free_port(), host="localhost", allow_host=names)
    monkeypatch.setattr(os, "environ", started[0][1])
    options = page_options.page_options()
    assert options.allowed_hosts == ("vqa.example", "xn--bro-hoa.example:8443", "[2001:db8::1]")
    assert (options.host, options.local) == ("localhost", False)
    for name in ("*", "", "https://vqa.example", "vqa.example/", "a b", "*.example", "a..b"):
        with pytest.raises(InputError, match="is no name"):
            launcher.app_command(port=free_port(), allow_host=[name])
    assert len(started) == 1


@pytest.mark.parametrize("name", ["llava-hf/llava-1.5-7b-hf", "embedded", "embedded/base"])
def test_names_that_are_no_paths_are_passed_on(
    name: str,
    started: list[tuple[list[str], dict[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "embedded").mkdir()  # a user's own, which is not meant
    monkeypatch.chdir(tmp_path)
    launcher.app_command(name, port=free_port())
    assert f'"{name}"' in started[0][1]["VQA_APP"]


def test_what_cannot_work_is_refused_before_the_server_starts(
    started: list[tuple[list[str], dict[str, str]]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for model in (str(tmp_path), str(tmp_path / "file"), str(tmp_path / "none"), "./none", ""):
        with pytest.raises(InputError):
            launcher.app_command(model, port=free_port())
    with pytest.raises(InputError, match="holds no adapter"):
        launcher.app_command(adapter=str(tmp_path), port=free_port())
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InputError, match="Address already in use"):
            launcher.app_command(port=other.getsockname()[1])
    with pytest.raises(InputError, match=r"Cannot listen on no\.such\.host"):
        launcher.app_command(host="no.such.host.invalid")
    with pytest.raises(InputError, match=r"Cannot listen on 'a\.\.b': it is no address"):
        launcher.app_command(host="a..b")
    assert started == []
