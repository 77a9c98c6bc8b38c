"""A server of ours in a thread of the test, and what clients send to it."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import uvicorn
from PIL import Image

from vqa.answering import Answer, Answerer, Request, Token
from vqa.serve.embeddings import SharedSpace
from vqa.serve.http_app import ServerOptions, create_app
from vqa.serve.request_limits import TimedHeaders


@contextmanager
def serving(
    answerers: Mapping[str, Answerer],
    options: ServerOptions | None = None,
    space: SharedSpace | None = None,
) -> Iterator[str]:
    """Serve on a free port of this machine; the URL."""
    config = uvicorn.Config(
        create_app(answerers, options or ServerOptions(), space),
        port=0,
        http=TimedHeaders,
        ws="none",
        lifespan="on",
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> float:
    """Wait until something is true; the seconds that it took."""
    began = time.perf_counter()
    while not true():
        assert time.perf_counter() - began < seconds
        time.sleep(0.005)
    return time.perf_counter() - began


def gauge(url: str, name: str, **headers: str) -> float:
    """Read a figure of /metrics."""
    lines = httpx2.get(f"{url}/metrics", headers=headers).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def picture_file(image: Image.Image, kind: str = "PNG") -> bytes:
    """Write a picture as a file has it."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def data_url(content: bytes, kind: str = "image/png") -> str:
    """Write the content of a file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def about(question: str, *urls: str, **more: Any) -> dict[str, Any]:
    """Make the body of a question about pictures."""
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [*pictures, {"type": "text", "text": question}]
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **more}


def post(
    url: str, body: Any, path: str = "/v1/chat/completions", **headers: str
) -> httpx2.Response:
    """Ask, for a completion by default. A body that is bytes goes as it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    return httpx2.post(f"{url}{path}", content=content, headers=headers, timeout=30)


def refused(response: httpx2.Response, status: int) -> str:
    """Check that a reply is an error in OpenAI's shape; its message."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    message = error["message"]
    assert isinstance(message, str) and "\n" not in message and len(message) <= 500
    assert "/work" not in response.text and "Traceback" not in response.text
    return message


def events(text: str) -> list[Any]:
    """Read the events of a stream, without the last, which is [DONE]."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def raw(url: str, content: bytes, seconds: float = 5.0) -> bytes:
    """Send bytes as they are; all that comes back before the server closes or is silent."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(content)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except TimeoutError:
            pass
        return received


class Counting:
    """An answerer of batches that writes numbers, one every `pause` seconds, and never ends."""

    name = "counting"

    def __init__(self, pause: float = 0.01) -> None:
        self.pause = pause
        self.most_at_once = 0

    def open_batch(self) -> CountingBatch:
        return CountingBatch(self)

    def answer(
        self, requests: Sequence[Request], cancel: threading.Event | None = None
    ) -> list[Answer]:
        raise NotImplementedError

    def stream(
        self, request: Request, cancel: threading.Event | None = None
    ) -> Iterator[str | Answer]:
        raise NotImplementedError


class CountingBatch:
    """The batch of `Counting`: an answer ends after `max_new_tokens`."""

    def __init__(self, answerer: Counting) -> None:
        self._answerer = answerer
        self._written: dict[int, int] = {}
        self._most: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._written)

    def add(self, requests: Mapping[int, Request]) -> list[tuple[int, Any]]:
        self._written |= dict.fromkeys(requests, 0)
        self._most |= {key: one.settings.max_new_tokens for key, one in requests.items()}
        self._answerer.most_at_once = max(self._answerer.most_at_once, len(self))
        return []

    def step(self) -> list[tuple[int, Any]]:
        time.sleep(self._answerer.pause)
        done: list[tuple[int, Any]] = []
        for key, number in list(self._written.items()):
            done.append((key, Token(f"{number} ", -0.5)))
            self._written[key] += 1
            if number + 1 == self._most[key]:
                done.append((key, self._answer(key, "length")))
        return done

    def cancel(self, key: int) -> Answer:
        return self._answer(key, "cancelled")

    def _answer(self, key: int, reason: Any) -> Answer:
        number = self._written.pop(key)
        return Answer("", reason, prompt_tokens=7, new_tokens=number)
