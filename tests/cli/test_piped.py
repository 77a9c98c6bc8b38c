"""What `vqa ask` says when half of it is missing, and pictures and questions through pipes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests import tiny
from tests.alignment import tiny as tiny_shared
from tests.cli.run import environment, refused, vqa_here
from tests.inputs.clips import scenes, write
from tests.inputs.pictures import encoded, picture

Capture = pytest.CaptureFixture[str]
AVIF = encoded(picture(), "AVIF")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_1_5(tmp_path_factory.mktemp("model") / "llava")


def shell(command: str, folder: Path, model: Path) -> subprocess.CompletedProcess[bytes]:
    run = f"{sys.executable} -m vqa"
    options = f"--model {model} --max-new-tokens 3 --dtype float32"
    return subprocess.run(
        ["bash", "-c", command.replace("VQA", run).replace("OPTIONS", options)],
        cwd=folder, env=environment(), capture_output=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a picture and a question are missing"),
        (["cat.jpg"], "the question is missing: vqa ask PHOTO "),
        (["CAT.AVIF"], "the question is missing"),
        (["clip.mp4"], "the question is missing"),
        (["named"], "the question is missing"),
        (["-"], "the question is missing"),
        (["cat.jpg", "dog.jpg"], "the question is missing"),
        (["-", "dog.jpg"], "the question is missing"),
        (["What is this?"], "the picture is missing: vqa ask PHOTO "),
        (["what"], "the picture is missing"),
        (["What is in cat.jpg"], "the picture is missing"),
        (["What is this?", "cat.jpg"], "the question comes last: vqa ask PHOTO "),
        (["cat.jpg", "What", "is", "this?"], "put the question in quotes"),
    ],
)
def test_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "named").write_bytes(AVIF)
    picture().save("cat.jpg")
    assert message in refused(vqa_here(capfd, "ask", *words))


@contextmanager
def pipe(content: bytes) -> Iterator[int]:
    """The end of a pipe that `content` comes out of."""
    end, begin = os.pipe()

    def fill() -> None:
        with open(begin, "wb") as file:
            file.write(content)

    filling = Thread(target=fill)
    filling.start()
    yield end
    filling.join()


def test_a_picture_through_every_kind_of_pipe(
    tmp_path: Path, model: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, clip = tmp_path / "cat.avif", write(tmp_path / "clip.mp4", scenes("red", "blue"))
    photo.write_bytes(AVIF)
    options = ("--model", model, "--max-new-tokens", "3", "--dtype", "float32", "--json")

    def asked(*words: str | Path, stdin: bytes | None = None) -> Any:
        with pipe(stdin or b"") as end:
            if stdin is not None:
                monkeypatch.setattr("sys.stdin", os.fdopen(os.dup(end), encoding="utf-8"))
            done = vqa_here(capfd, "ask", *words, *options)
            os.close(end)
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    one = asked(photo, "What?")
    assert asked("-", "What?", stdin=AVIF)["answer"] == one["answer"]
    assert asked("/dev/stdin", "What?", stdin=AVIF)["answer"] == one["answer"]
    assert asked(photo, "-", stdin=b"What?\n")["answer"] == one["answer"]
    with pipe(AVIF) as end:  # as `<(...)` is given by a shell
        assert asked(f"/dev/fd/{end}", "What?")["answer"] == one["answer"]
        os.close(end)
    named = tmp_path / "named"
    os.mkfifo(named)
    writer = Thread(target=named.write_bytes, args=(AVIF,))
    writer.start()
    assert asked(photo, named, "What?")["image_tokens"] == 2 * one["image_tokens"]
    writer.join()
    frames = asked("-", "What?", stdin=clip.read_bytes())["frames"]
    assert frames == asked(clip, "What?")["frames"] and len(frames) == 2


def test_the_other_commands_with_a_picture(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tiny_shared.clip(tmp_path / "clip")
    (tmp_path / "cat.avif").write_bytes(AVIF)
    for command in (("classify", "--labels", "a,b", "--json"), ("score-caption", "--json")):
        words = ("red", "blue") if command[0] == "score-caption" else ()
        with pipe(AVIF) as end:
            monkeypatch.setattr("sys.stdin", os.fdopen(os.dup(end), encoding="utf-8"))
            piped = vqa_here(capfd, *command, "--model", clip, "--", "-", *words)
            os.close(end)
        photo = tmp_path / "cat.avif"
        named = vqa_here(capfd, *command, "--model", clip, "--", photo, *words)
        assert piped.returncode == named.returncode == 0, piped
        assert json.loads(piped.stdout) == json.loads(named.stdout.replace(str(photo), "-"))


def test_a_shell_s_own_pipe(tmp_path: Path, model: Path) -> None:
    (tmp_path / "cat.avif").write_bytes(AVIF)
    done = shell("echo 'What?' | VQA ask <(cat cat.avif) - OPTIONS", tmp_path, model)
    assert done.returncode == 0 and done.stdout.strip()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("VQA ask - What? < /dev/null", "standard input is empty (0 bytes)"),
        ("VQA ask - What? <&-", "that is closed"),
        ("echo words | VQA ask - What?", "standard input is text, not a picture"),
        ("cat cat.avif | VQA ask - - What?", "standard input is named twice"),
        ("cat cat.avif | VQA ask - /dev/stdin What?", "standard input is named twice"),
        ("cat cat.avif | VQA ask - -", "standard input is the picture already"),
        ("cat cat.avif | VQA ask cat.avif -", "standard input holds a picture (AVIF)"),
        ("head -c 99 /dev/urandom | VQA ask cat.avif -", "is no text in UTF-8"),
        ("VQA ask cat.avif - < /dev/null", "question is empty"),
        ("yes | VQA ask cat.avif -", "standard input holds more than 1,000,000 bytes"),
        ("cat /dev/zero | VQA ask - What?", "standard input holds more than 512,000,000 bytes"),
        ("VQA ask /dev/zero What?", "is not a file (a device or pipe)"),
        ("VQA ask <(cat cat.avif)", "the question is missing"),
        ("cat cat.avif | VQA chat -", "standard input holds the questions of a chat"),
        ("cat cat.avif | VQA chat /dev/stdin", "standard input holds the questions of a chat"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    tmp_path: Path, model: Path, command: str, message: str
) -> None:
    (tmp_path / "cat.avif").write_bytes(AVIF)
    done = shell(command, tmp_path, model)
    error = done.stderr.decode()
    assert done.returncode == 2 and message in error and error.count("\n") == 1, error
    assert done.stdout == b""


@pytest.mark.parametrize("words", [["-", "What?"], ["cat.jpg", "-"], ["/dev/stdin", "What?"]])
def test_a_terminal_is_not_waited_for(tmp_path: Path, words: list[str]) -> None:
    picture().save(tmp_path / "cat.jpg")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "vqa", "ask", *words], cwd=tmp_path, env=environment(),
        stdin=theirs, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert "that is this terminal: pipe" in refused(done)


@pytest.mark.slow
def test_questions_of_a_chat_through_a_pipe(tmp_path: Path, model: Path) -> None:
    (tmp_path / "cat.avif").write_bytes(AVIF)
    done = shell("printf 'What?\\nAnd now?' | VQA chat cat.avif OPTIONS", tmp_path, model)
    assert done.returncode == 0 and done.stdout.count(b"> ") == 3 and done.stderr == b""
    done = shell(
        "printf 'caf\\xe9\\n' | PYTHONIOENCODING=utf-8 VQA chat cat.avif OPTIONS", tmp_path, model
    )
    assert done.returncode == 2 and b"standard input is no text in UTF-8" in done.stderr
