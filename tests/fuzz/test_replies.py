"""Replies of an endpoint, changed: an answer, or one line, soon, and the endpoint's text harmless.

The bytes of the whole reply are written to the connection: status, header and body.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.limits import fuzz, held
from tests.fuzz.mutation import NUMBERS, changed_bytes, json_bytes, texts
from tests.remote.endpoint import Handler, Server, serving
from vqa.answering import Answer, Request, SamplingParams
from vqa.inputs.prompts import Message
from vqa.remote.answerer import RemoteAnswerer

ASKED = Request((Message("user", "a?"),), SamplingParams(max_new_tokens=8))
KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
_TOKENS = {"content": [{"token": "a", "logprob": -0.25, "top_logprobs": []}]}
_USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
WHOLE: dict[str, Any] = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "tiny", "usage": _USAGE,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": " a cat "},
                 "finish_reason": "stop", "logprobs": _TOKENS}],
}  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"delta": {"content": "a"}, "logprobs": _TOKENS}]},
    {"choices": [{"delta": {}, "finish_reason": "length"}]},
    {"choices": [], "usage": _USAGE},
]
REFUSED = {"error": {"message": f"no luck with {KEY}", "code": 7}}
MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model"}]}
NAMES = ("error", "message", "content", "choices", "usage", "logprobs", "finish_reason", "detail",
         "tool_calls", "data", "id", "logprob", "text")  # fmt: skip
STATUSES = [201, 204, 206, 100, 101, 301, 302, 304, 400, 401, 404, 408, 418, 422, 429, 500, 503,
            599, 0, 999]  # fmt: skip
_KINDS = [
    "application/json",
    "text/event-stream",
    "text/event-stream; charset=x",
    "",
    "\xff",
    "a;b",
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def remote(server: Server) -> RemoteAnswerer:
    """Asks the server once more where it may."""
    return answerer(server, "tiny")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def answerer(server: Server, model: str | None) -> RemoteAnswerer:
    return RemoteAnswerer(
        server.url, model, api_key=KEY, timeout=1.0, deadline=3.0, retries=1, backoff=0.001
    )


def rarely(draw: st.DrawFn) -> bool:
    """Whether one more thing is wrong: most replies have one or two."""
    return draw(st.integers(0, 7)) == 0


@st.composite
def headers(draw: st.DrawFn, kind: str, body: bytes) -> list[tuple[str, str]]:
    """A header that is right for most, or says something else of the body."""
    chosen = {"Content-Type": kind, "Content-Length": str(len(body))}
    if rarely(draw):
        chosen["Content-Length"] = draw(st.sampled_from(["0", "-1", "1", "x", "9" * 30, "+5"]))
    wait = st.sampled_from(["0", "0.01", "-1", "nan", "1e999", "x", "", "Fri, 31 Dec 1 0:0:0 GMT"])
    more = {
        "Content-Type": st.sampled_from(_KINDS),
        "Content-Encoding": st.sampled_from(["gzip", "deflate", "br", "zstd", "identity", "x"]),
        "Transfer-Encoding": st.sampled_from(["chunked", "gzip, chunked", "x", ""]),
        "Retry-After": wait | st.sampled_from(NUMBERS).map(str).filter(lambda n: len(n) > 3),
        "Location": texts,
        "Connection": st.sampled_from(["close", "keep-alive", "upgrade"]),
        "Set-Cookie": texts,
        "Content-Length": st.sampled_from(["1", "99999"]),
    }
    names = st.lists(st.sampled_from(sorted(more)), min_size=1, max_size=2)
    for name in draw(names) if rarely(draw) else []:
        chosen[name] = draw(more[name])
    pairs = list(chosen.items())
    return pairs + pairs[-1:] if rarely(draw) else pairs


@st.composite
def replies(draw: st.DrawFn, body: bytes, kind: str) -> bytes:
    """A whole reply; sometimes packed, sometimes with bytes of its head or body changed."""
    if rarely(draw):
        body = draw(changed_bytes(body))
    encoding = []
    if rarely(draw):
        body = gzip.compress(body)
        body = draw(changed_bytes(body)) if draw(st.booleans()) else body
        encoding = [("Content-Encoding", "gzip")]
    status = draw(st.sampled_from(STATUSES)) if rarely(draw) else 200
    lines = [f"HTTP/1.1 {status} {draw(st.sampled_from(['OK', '', KEY, 'x' * 999]))}"]
    lines += [f"{name}: {value}" for name, value in draw(headers(kind, body)) + encoding]
    head = "\r\n".join(" ".join(line.splitlines()) for line in lines)
    whole = head.encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body
    return draw(changed_bytes(whole)) if rarely(draw) else whole


def sent(server: Server, raw: bytes) -> None:
    """Let the server send these bytes and close the connection."""

    def step(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(raw)

    server.otherwise = server.do_get = step


def no_key_in(text: str) -> None:
    assert not any(KEY[start : start + 8] in text for start in range(len(KEY) - 7)), text


@fuzz
@given(data=st.data())
def test_a_reply(server: Server, remote: RemoteAnswerer, data: st.DataObject) -> None:
    body = data.draw(
        st.sampled_from([WHOLE, WHOLE, REFUSED]).flatmap(lambda v: json_bytes(v, NAMES))
    )
    sent(server, data.draw(replies(body, "application/json")))
    with held() as refusal:
        (answer,) = remote.answer([ASKED])
        assert isinstance(answer.text, str) and 0 <= (answer.probability or 0) <= 1
    no_key_in(refusal.text)


@fuzz
@given(data=st.data())
def test_a_stream(server: Server, remote: RemoteAnswerer, data: st.DataObject) -> None:
    end = data.draw(st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n"]))
    events = [
        data.draw(json_bytes(event, NAMES))
        if data.draw(st.booleans())
        else json.dumps(event).encode()
        for event in EVENTS
    ]
    body = b"".join(b"data: " + event + end for event in [*events, b"[DONE]"])
    sent(server, data.draw(replies(body, "text/event-stream")))
    with held() as refusal:
        *pieces, answer = remote.stream(ASKED)
        assert isinstance(answer, Answer) and "".join(map(str, pieces)) == answer.text
    no_key_in(refusal.text)


@fuzz
@given(data=st.data())
def test_a_list_of_models(server: Server, data: st.DataObject) -> None:
    body = data.draw(json_bytes(MODELS, NAMES))
    sent(server, data.draw(replies(body, "application/json")))
    with held() as refusal:
        assert isinstance(answerer(server, None).name, str)
    no_key_in(refusal.text)
