"""The command `vqa serve`: what it refuses, how it ends, and `vqa predict` on it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests import tiny
from tests.alignment import tiny as tiny_alignment
from tests.cli.run import environment, vqa_here
from tests.serve.server import about, events, wait_until
from vqa.serve import http_app, running

KEY = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and an adapter on it."""
    directory = tmp_path_factory.mktemp("served")
    tiny.llava_1_5(directory / "model")
    tiny.lora(directory / "model", directory / "adapters" / "cats")
    tiny_alignment.clip(directory / "clip")
    (directory / "adapters" / "no adapter").mkdir()
    (directory / "keys").write_text(KEY)
    return directory


@pytest.fixture
def server(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, once it listens, and its URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "vqa", "serve", "--model", directory / "model", "--device", "cpu",
         "--adapters", directory / "adapters", "--api-keys", directory / "keys",
         "--embeddings", directory / "clip", "--host", "0.0.0.0", "--port", str(port)],
        env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: process.poll() is not None or answers(url), 60)
    assert process.poll() is None, process.stderr and process.stderr.read()
    yield process, url
    process.kill()
    process.wait()


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/ready").status_code == 200
    except httpx2.TransportError:
        return False


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_models_adapters_and_a_soft_end(
    server: tuple[subprocess.Popen[str], str],
    directory: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process, url = server
    headers = {"Authorization": f"Bearer {KEY}"}
    models = httpx2.get(f"{url}/v1/models", headers=headers).json()["data"]
    assert [model["id"] for model in models] == ["model", "cats", "clip"]
    body = {"model": "clip", "input": ["a cat", "word " * 500]}
    reply = httpx2.post(f"{url}/v1/embeddings", json=body, headers=headers)
    assert reply.status_code == 400 and "encoder of clip takes" in reply.text
    body["input"] = "a cat"
    reply = httpx2.post(f"{url}/v1/embeddings", json=body, headers=headers)
    assert len(reply.json()["data"]) == 1

    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    rows = [{"id": i, "image": "red.png", "question": f"what {i}?"} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts: dict[str, list[Any]] = {}
    here = ["--model", directory / "model", "--device", "cpu", "--adapter",
            directory / "adapters" / "cats"]  # fmt: skip
    there = ["--backend", "openai", "--base-url", f"{url}/v1", "--model"]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for kind, options in {
        "here": here,
        "cats": [*there, "cats"],
        "model": [*there, "model"],
    }.items():
        out = tmp_path / f"{kind}.jsonl"
        done = vqa_here(
            capsys, "predict", "--data", tmp_path / "rows.jsonl", "--out", out,
            "--max-new-tokens", "8", *options,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        texts[kind] = [json.loads(line)["prediction"] for line in out.read_text().splitlines()]
    assert texts["here"] == texts["cats"] != texts["model"]

    body = about("count", model="model", max_tokens=300, stream=True)
    with httpx2.stream("POST", f"{url}/v1/chat/completions", json=body, headers=headers) as reply:
        parts = reply.iter_text()
        text = next(parts)
        process.send_signal(signal.SIGTERM)
        text += "".join(parts)
    assert events(text)[-1]["choices"][0]["finish_reason"] in ("length", "stop")
    assert process.wait(20) == 128 + signal.SIGTERM
    assert process.stderr is not None
    first, last = process.stderr.read().splitlines()
    assert first.startswith("vqa: serving model, cats at http://localhost:")
    assert last == "vqa: stopped by SIGTERM"


@pytest.mark.parametrize(("options", "says"), [
    (["--host", "0.0.0.0"], "give the keys that they need by --api-keys FILE"),
    (["--host", "::"], "lets other computers in"),
    (["--api-keys", "none"], "cannot be read: No such file"),
    (["--adapters", "none"], "no such directory"),
    (["--adapters", "model"], "holds no folder with an adapter_config.json"),
    (["--model", "none"], "none"),
    (["--model", "model", "--embeddings", "none"], "none"),
    (["--port", "0"], "--port"),
])  # fmt: skip
def test_what_cannot_be_served_is_refused_in_a_line(
    directory: Path, options: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(directory)
    port = [] if "--port" in options else ["--port", str(free_port())]
    done = vqa_here(capsys, "serve", *options, *port)
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_reading_is_asked_for_by_an_option(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)  # as where the extra is not installed
    model = ["--model", directory / "model", "--device", "cpu", "--port", str(free_port())]
    done = vqa_here(capsys, "serve", *model, "--read", "always")
    assert done.returncode == 2
    assert "vqa[read]" in done.stderr and done.stderr.count("\n") == 1


def test_answerers_know_the_public_names_alone(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr(http_app, "create_app", lambda answerers, *_: served.update(answerers))
    monkeypatch.setattr(running, "run", lambda *_: None)
    done = vqa_here(capsys, "serve", "--model", directory / "model", "--device", "cpu",
                    "--adapters", directory / "adapters", "--port", str(free_port()))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {name: answerer.name for name, answerer in served.items()} == {
        "model": "model", "cats": "cats"
    }  # fmt: skip
