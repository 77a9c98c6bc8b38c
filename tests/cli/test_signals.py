"""Ctrl-C, SIGTERM and SIGHUP at any moment of a command: one line, and the exit code of a shell."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests import tiny
from tests.cli.run import environment
from vqa.utils.files import lock

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_1_5(tmp_path_factory.mktemp("model") / "llava")


def begun(*arguments: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
    """The command, as soon as it has taken its signals: Python itself needs a moment to begin."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vqa", *map(str, arguments)],
        env=environment(),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not takes(process.pid, signal.SIGHUP) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    return process


def takes(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


def stopped(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send the signal; the one line. Empty where the command had ended before."""
    process.send_signal(number)
    printed, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors + printed, errors
    # Python's own end, behind a command that is done, gives the signals back
    if process.returncode == 0 or (process.returncode == -number and printed.endswith("\n")):
        return ""
    assert process.returncode == 128 + number, (process.returncode, errors)
    line = errors.splitlines()[-1]
    assert line.startswith(f"vqa: stopped by {_NAMES[number]}"), errors
    return line


@pytest.mark.parametrize("number", _NAMES)
def test_while_it_begins(number: signal.Signals) -> None:
    ends = [stopped_after(delay, number, "models", "list") for delay in (0, 0.05, 0.15, 0.3)]
    assert any(ends)


def stopped_after(delay: float, number: signal.Signals, *arguments: str | Path) -> str:
    process = begun(*arguments)
    time.sleep(delay)
    return stopped(process, number)


@pytest.mark.slow
def test_while_libraries_are_imported_and_the_model_answers(model: Path, examples: Path) -> None:
    chance = random.Random(7)
    command = ("ask", examples / "cat.jpg", "What is this?", "--model", model)
    command = (*command, "--max-new-tokens", "3000")
    for number in _NAMES:
        # the later one may come behind the answer, on a fast machine
        delays = (chance.uniform(0.2, 1.5), chance.uniform(1.5, 6))
        assert any(stopped_after(delay, number, *command) for delay in delays)


@pytest.mark.slow
def test_while_a_lock_is_waited_for(model: Path, tmp_path: Path) -> None:
    data, out = small_data(tmp_path), tmp_path / "out.jsonl"
    with lock(out):
        process = begun("predict", "--data", data, "--out", out, "--model", model)
        end = time.monotonic() + 120
        # it is open for the moment of each attempt alone: look without a pause
        while not holds(process.pid, ".out.jsonl.lock") and time.monotonic() < end:
            pass
        time.sleep(0.1)
        assert str(out) in stopped(process, signal.SIGTERM)


def holds(pid: int, name: str) -> bool:
    """Whether a process has opened a file of this name, a moment ago or now."""
    try:
        links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False
    return any(link.endswith(name) for link in links)


def test_a_command_that_was_told_to_ignore_a_signal_does(tmp_path: Path) -> None:
    line = f'trap "" HUP; exec "{sys.executable}" -m vqa --version'
    process = subprocess.Popen(
        ["bash", "-c", line], env=environment(), stdout=subprocess.PIPE, text=True
    )
    time.sleep(0.3)
    process.send_signal(signal.SIGHUP)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and printed.startswith("vqa ")


_SWALLOWING = """
import os, signal, sys, time
from vqa import cli
from vqa.tools import inventory
from vqa.utils import stopping
stopping._PATIENCE = 1.0

class Quiet:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)

def swallowed(*_):
    if sys.argv[1] == "bare":
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except:
            time.sleep(60)
    elif sys.argv[1] == "wrapped":
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except BaseException as error:
            raise ImportError("numpy failed to import") from error
    else:
        Quiet()
        time.sleep(60)

inventory.list_models = swallowed
cli.main(["models", "list"])
"""


@pytest.mark.parametrize("how", ["bare", "wrapped", "destructor"])
def test_a_library_that_takes_the_signal_for_its_own_does_not_go_on(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SWALLOWING, how],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (143, "vqa: stopped by SIGTERM\n"), done


def small_data(folder: Path, rows: int = 4) -> Path:
    """Questions about pictures of different colours."""
    for index in range(rows):
        Image.new("RGB", (20, 20), (index * 9 % 256, 99, 0)).save(folder / f"{index}.png")
    lines = [
        {"id": i, "image": f"{i}.png", "question": f"What is {i}?", "answer": str(i)}
        for i in range(rows)
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_chat_ends_by_sigterm_in_one_line(model: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vqa", "chat", "--model", str(model)],
        env=environment({"PYTHONUNBUFFERED": "1"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("/image PATH")
    time.sleep(0.2)
    assert stopped(process, signal.SIGTERM)
