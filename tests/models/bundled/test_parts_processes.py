"""Fetching in several processes: killed, interrupted, at the same time, without a network."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from tests.models.bundled import tiny_parts
from vqa.models.bundled import embedded, parts
from vqa.models.bundled.parts import part_directory

Start = Callable[..., BaseProcess]


def _fetch(folder: Path, online: bool = True) -> None:
    """Fetch both parts, compose and load them, in a process of its own."""
    os.environ.update(tiny_parts.environment(folder))
    attempts: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        attempts.append(arguments)
        raise OSError("the network is cut off")

    assert not huggingface_hub.constants.HF_HUB_OFFLINE  # it would hide an attempt
    if not online:
        os.environ["PIP_FIND_LINKS"] = "/nowhere"
        socket.socket.connect = refuse  # type: ignore[method-assign]
        socket.getaddrinfo = refuse  # type: ignore[assignment]
    tiny_parts.use(pickle.loads((folder / "parts.pickle").read_bytes()), folder / "weights")
    language, vision = part_directory("language"), part_directory("vision")
    parts.remove_leftovers()
    base = embedded.base_directory()
    LlavaProcessor.from_pretrained(base)
    LlavaForConditionalGeneration.from_pretrained(base)
    AutoModel.from_pretrained(vision)
    AutoModelForCausalLM.from_pretrained(language)
    AutoTokenizer.from_pretrained(language)
    assert not attempts, attempts


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts `_fetch` in a process that has imported everything but computed nothing yet."""
    tiny = tiny_parts.write_parts(tmp_path / "index")
    (tmp_path / "parts.pickle").write_bytes(pickle.dumps(tiny))
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parts, "PARTS", tiny)
    monkeypatch.setattr(parts, "WEIGHTS", tmp_path / "weights")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    context = multiprocessing.get_context("forkserver")
    lazy = ["models.llama.modeling_llama", "models.llava.modeling_llava", "models.vit"]
    lazy = [f"transformers.{name}" for name in [*lazy, "modeling_gguf_pytorch_utils"]]
    context.set_forkserver_preload([__name__, "gguf", "rich.progress", "vqa.models.llava", *lazy])

    def run(*arguments: Any) -> BaseProcess:
        process = context.Process(target=_fetch, args=arguments)
        process.start()
        return process

    return run


def _exit_code(process: BaseProcess) -> int | None:
    process.join()
    return process.exitcode


def test_after_the_fetch_no_connection_is_tried(start: Start, tmp_path: Path) -> None:
    assert _exit_code(start(tmp_path)) == 0
    assert _exit_code(start(tmp_path, False)) == 0


def test_two_processes_at_once(start: Start, tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    assert [_exit_code(process) for process in both] == [0, 0]
    assert tiny_parts.left_in_cache() == []


@pytest.mark.slow
def test_killed_at_any_moment_and_started_again(start: Start, tmp_path: Path) -> None:
    for undisturbed in (tmp_path / "slow", tmp_path / "fast"):  # the second with warm disk caches
        undisturbed.mkdir()
        for name in ("parts.pickle", "index"):
            (undisturbed / name).symlink_to(tmp_path / name)
        started = time.monotonic()
        assert _exit_code(start(undisturbed)) == 0
        duration = time.monotonic() - started

    killed = 0
    for moment in range(6):
        process = start(tmp_path)
        process.join(duration * (moment + 0.5) / 6)
        killed += process.exitcode is None
        process.kill()
        process.join()
    assert killed >= 2
    assert _exit_code(start(tmp_path)) == 0
    assert tiny_parts.left_in_cache() == []


@pytest.mark.usefixtures("start")
def test_interrupt_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import pickle, sys; from vqa.models.bundled import parts; from vqa.cli import main;"
        "parts.PARTS = pickle.load(open(sys.argv.pop(1), 'rb')); main(['models', 'fetch'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "parts.pickle")],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **tiny_parts.environment(tmp_path)},
    )
    wheels = tmp_path / "cache" / "wheels"
    deadline = time.monotonic() + 60
    while not any(wheels.glob(".*/tmp/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("vqa: stopped by Ctrl-C (`vqa models fetch` goes on")
    assert "Traceback" not in errors
    assert list(wheels.iterdir()) == []
