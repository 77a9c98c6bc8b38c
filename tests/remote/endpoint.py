"""A small chat-completions endpoint on this machine that fails by a script."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from vqa.answering import Answer, Request, SamplingParams
from vqa.errors import InputError
from vqa.inputs.prompts import Message
from vqa.remote.answerer import RemoteAnswerer

LOGPROBS = [-0.25, -0.5]


class Handler(BaseHTTPRequestHandler):
    """Answers with the question and the corners of its pictures, or as the server's script says."""

    protocol_version = "HTTP/1.1"
    server: Server
    body: dict[str, Any]

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """List the models."""
        self.server.request_headers.append(dict(self.headers))
        self.server.do_get(self)

    def do_POST(self) -> None:
        """Answer a question."""
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.bodies.append(self.body)
            server.request_headers.append(dict(self.headers))
            server.active += 1
            server.most_active = max(server.most_active, server.active)
            steps = server.script.get(self.question, [])
            step = steps.pop(0) if steps else server.otherwise
        try:
            step(self)
        finally:
            with server.lock:
                server.active -= 1

    @property
    def question(self) -> str:
        """The text of the last message."""
        content = self.body["messages"][-1]["content"]
        if isinstance(content, str):
            return content
        return "".join(part["text"] for part in content if part["type"] == "text")

    @property
    def text(self) -> str:
        """The answer."""
        content = self.body["messages"][-1]["content"]
        corners = [
            Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].split(",")[1])))
            for part in content
            if not isinstance(part, str) and part["type"] == "image_url"
        ]
        return f"{self.question} {[(i.size, i.getpixel((0, 0))) for i in corners]}"

    def send(self, status: int, content: bytes, kind: str, **headers: str) -> None:
        """Send a whole reply."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def json(self, status: int, value: Any, **headers: str) -> None:
        """Send JSON."""
        self.send(status, json.dumps(value).encode(), "application/json", **headers)


Step = Callable[[Handler], None]


def listed(handler: Handler) -> None:
    """List the models."""
    handler.json(200, {"data": [{"id": name} for name in handler.server.models]})


def answered(handler: Handler) -> None:
    """Answer the question."""
    if handler.body.get("stream"):
        return streamed([handler.text])(handler)
    choice: dict[str, Any] = {
        "message": {"role": "assistant", "content": f" {handler.text} "},
        "finish_reason": "stop",
    }
    if handler.body.get("logprobs"):
        choice["logprobs"] = {"content": [{"token": "a", "logprob": p} for p in LOGPROBS]}
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    handler.json(200, {"choices": [choice], "usage": usage})


def failed(status: int, message: str = "no luck", **headers: str) -> Step:
    """Refuse with a status."""
    return lambda handler: handler.json(status, {"error": {"message": message}}, **headers)


def silent(seconds: float) -> Step:
    """Answer only after some time."""

    def step(handler: Handler) -> None:
        handler.server.stopping.wait(seconds)
        answered(handler)

    return step


def cut_off(handler: Handler) -> None:
    """Promise more than is sent, and close the connection."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


def reply_with(content: bytes) -> Step:
    """Send something else with status 200."""
    return lambda handler: handler.send(200, content, "application/json")


def streamed(pieces: list[str], end: bool = True, pause: float = 0.0) -> Step:
    """Send the answer as events; without `end` the connection closes after the last piece."""

    def step(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        events: list[Any] = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
        for piece in pieces:
            token = {"content": [{"token": piece, "logprob": -0.5}]}
            events.append({"choices": [{"delta": {"content": piece}, "logprobs": token}]})
        if end:
            events.append({"choices": [{"delta": {}, "finish_reason": "length"}]})
            events.append({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
        try:
            for event in events:
                data = json.dumps(event, ensure_ascii=False)
                handler.wfile.write(f": still here\n\ndata: {data}\n\n".encode())
                handler.wfile.flush()
                time.sleep(pause)
            if end:
                handler.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            handler.server.hung_up.set()

    return step


def endless(
    piece: bytes, pause: float = 0.0, status: int = 200, kind: str = "application/json", **head: str
) -> Step:
    """Send `piece` again and again until the other side hangs up; the server counts its bytes."""

    def step(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        for name, value in head.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        try:
            while not handler.server.stopping.wait(pause):
                handler.wfile.write(piece)
                handler.wfile.flush()
                handler.server.sent += len(piece)
        except OSError:
            handler.server.hung_up.set()

    return step


def packed(content: bytes, encoding: str, kind: str = "application/json") -> Step:
    """Send a body that is packed already."""
    return lambda handler: handler.send(200, content, kind, Content_Encoding=encoding)


class Server(ThreadingHTTPServer):
    """The endpoint; `script` holds what it does with a question, one step for each attempt."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models = ["tiny"]
        self.script: dict[str, list[Step]] = {}
        self.otherwise: Step = answered
        self.do_get: Step = listed
        self.bodies: list[dict[str, Any]] = []
        self.request_headers: list[dict[str, str]] = []
        self.active = self.most_active = 0
        self.sent = 0  # bytes of endless bodies
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.hung_up = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""
        self.hung_up.set()

    @property
    def url(self) -> str:
        """What goes into --base-url."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server in a thread, and stop it at the end."""
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()


def remote(server: Server, **settings: Any) -> RemoteAnswerer:
    return RemoteAnswerer(server.url, "tiny", **{"backoff": 0.001, "timeout": 5.0, **settings})


def ask(question: str, *images: Image.Image, **settings: Any) -> Request:
    return Request((Message("user", question, images),), SamplingParams(**settings))


def texts(outcomes: Sequence[Answer | InputError]) -> list[str]:
    return [o.text if isinstance(o, Answer) else f"{type(o).__name__}: {o}" for o in outcomes]
