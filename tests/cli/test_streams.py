"""Closed, full and unread standard streams, as a shell gives them to the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.run import environment

_BAD = "vqa: standard output: Bad file descriptor\n"


def shell(line: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, where `vqa` is this command."""
    setup = f'set -o pipefail; vqa() {{ "{sys.executable}" -m vqa "$@"; }}; '
    return subprocess.run(
        ["bash", "-c", setup + line],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("command", ["--help", "--version", "search --help"])
def test_what_cannot_be_printed_is_told(command: str) -> None:
    done = shell(f"vqa {command} >&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", _BAD)
    done = shell(f"vqa {command} >/dev/full")
    assert (done.returncode, done.stderr) == (1, "vqa: standard output: No space left on device\n")
    for closed in (">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"):
        done = shell(f"vqa {command} {closed}")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    done = shell(f"vqa {command} | head -0")
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "2>/dev/full", "<&- 2>&-"])
def test_other_streams_take_nothing_from_what_is_printed(closed: str) -> None:
    done = shell(f"vqa --version {closed}")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("vqa ")


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", ">&-"])
def test_an_error_keeps_its_exit_code(closed: str) -> None:
    done = shell(f"vqa ask nothere.jpg what {closed}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == (closed == ">&-")


def test_a_file_that_is_written_never_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    row = {"id": 1, "image": "a.png", "question": "What?", "answer": "a", "split": "x"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    line = "vqa data convert rows.jsonl out.jsonl"
    whole = shell(line, tmp_path)
    assert whole.returncode == 0, whole
    expected = (tmp_path / "out.jsonl").read_bytes()
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        (tmp_path / "out.jsonl").unlink()
        done = shell(f"{line} {closed}", tmp_path)
        assert done.returncode == (1 if ">&-" in closed.split() and whole.stdout else 0), done
        assert (tmp_path / "out.jsonl").read_bytes() == expected


def test_a_question_from_a_closed_input_is_an_input_error(examples: Path) -> None:
    done = shell(f"vqa ask {examples / 'cat.jpg'} - <&-")
    assert done.returncode == 2 and done.stderr.startswith("vqa: - is standard input, and that is")
