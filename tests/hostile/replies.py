"""Replies of an endpoint that means ill."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from tests.hostile.harness import Case, Command
from tests.remote.endpoint import (
    Step,
    cut_off,
    endless,
    failed,
    packed,
    reply_with,
    serving,
    silent,
)

KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
_BLANKS = b" " * 65536
_SECONDS = "3"  # that a row may take


def _reply(step: Step) -> Callable[[Path, ExitStack], Command]:
    """Plant two rows, and serve `step` for each."""

    def plant(directory: Path, stack: ExitStack) -> Command:
        server = stack.enter_context(serving())
        server.otherwise = step
        Image.new("RGB", (40, 30), "red").save(directory / "photo.png")
        row = {"image": "photo.png", "question": "What is it?", "answer": "a cat"}
        rows = "".join(json.dumps({"id": str(n), **row}) + "\n" for n in range(2))
        (directory / "rows.jsonl").write_text(rows, encoding="utf-8")
        arguments = [
            "predict",
            "--data",
            directory / "rows.jsonl",
            "--out",
            directory / "out.jsonl",
        ]
        remote = ["--backend", "openai", "--base-url", server.url, "--model", "tiny"]
        return Command(
            [*arguments, *remote, "--timeout", _SECONDS],
            environment={"OPENAI_API_KEY": KEY, "no_proxy": "127.0.0.1"},
        )

    return plant


def _models(step: Step) -> Callable[[Path, ExitStack], Command]:
    """The same without a model's name, which has to be asked for."""

    def plant(directory: Path, stack: ExitStack) -> Command:
        command = _reply(failed(500))(directory, stack)
        url = str(command.arguments[command.arguments.index("--base-url") + 1])
        server = stack.enter_context(serving())
        server.do_get = step
        rest = [each for each in command.arguments if each not in ("--model", "tiny")]
        arguments = [server.url if each == url else each for each in rest]
        return Command(arguments, environment=command.environment)

    return plant


def _whole(**changes: Any) -> bytes:
    whole = {"choices": [{"message": {"content": "a cat"}, "finish_reason": "stop"}]}
    return json.dumps(whole | changes).encode()


def _drip(status: int) -> Step:
    return endless(b" ", pause=0.1, status=status)


_TOOLS = {"content": None, "tool_calls": [{"id": "1", "type": "function"}]}
_NO_ANSWER = "does not answer"


def _case(name: str, step: Step, says: str) -> Case:
    """A row of whose rows none is answered: why stands in the predictions."""
    return Case(name, _reply(step), says, 1, "out.jsonl")


CASES = [
    _case("an endless body", endless(_BLANKS), "longer than"),
    _case("an endless body with status 500", endless(_BLANKS, status=500), _NO_ANSWER),
    Case("an endless body with status 401", _reply(endless(_BLANKS, status=401)), "401"),
    _case("a gzip bomb", packed(gzip.compress(b"\0" * (200 << 20)), "gzip"), "longer than"),
    _case("a deflate bomb", packed(zlib.compress(b" " * (200 << 20)), "deflate"), "longer than"),
    _case("a body packed twice", packed(b"x", "gzip, gzip"), "packed"),
    _case("a body packed as nobody asked", packed(b"x", "br"), "packed"),
    _case("a body that drips", _drip(200), "within 3 seconds"),
    _case("a refusal that drips", _drip(500), "within 3 seconds"),
    _case("silence", silent(60), "within 3 seconds"),
    _case("wait for a year", failed(429, Retry_After="31536000"), "429 no luck"),
    _case("wait for a minute, always", failed(503, Retry_After="60"), "before that: 503"),
    _case("wait until no day", failed(503, Retry_After="32 Dec 99999"), "503 no luck"),
    _case("cut off", cut_off, _NO_ANSWER),
    Case("a redirect", _reply(failed(302, Location=f"http://127.0.0.1:9/{KEY}")), "redirects to"),
    _case("the key in an error", failed(500, "x" * 280 + KEY), "500 x+"),
    _case("an error of 1 MB", failed(400, "\x1b[2J\u202e" + "x" * 1_000_000), r"400 \?"),
    _case("100,000 levels", reply_with(b"[" * 100_000), "no chat completion"),
    _case(
        "a number of 100,000 digits",
        reply_with(b'{"choices": [{"message": {"content": ' + b"9" * 100_000 + b"}}]}"),
        "no chat completion",
    ),
    _case("half a character", reply_with(b'{"error": "\\ud800"}'), _NO_ANSWER),
    _case(
        "calls of tools",
        reply_with(_whole(choices=[{"message": _TOOLS, "finish_reason": "tool_calls"}])),
        "tool_calls",
    ),
    _case("no choice", reply_with(b'{"choices": []}'), "finish_reason"),
    Case(
        "counts that cannot be",
        _reply(reply_with(_whole(usage={"prompt_tokens": -5, "completion_tokens": 10**40}))),
        code=0,
    ),
    Case("an endless list of models", _models(endless(_BLANKS)), "longer than", 1),
    Case(
        "a model with a name of 1 MB",
        _models(lambda handler: handler.json(200, {"data": [{"id": "x" * (1 << 20)}]})),
        "no list of models",
    ),
]
