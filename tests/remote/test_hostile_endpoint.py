"""An endpoint that means ill: nothing grows without end, nothing leaks, nothing hangs."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.limits import fuzz
from tests.remote.endpoint import (
    Handler,
    Server,
    Step,
    answered,
    endless,
    failed,
    packed,
    reply_with,
    serving,
    streamed,
)
from vqa.answering import Answer, Request, SamplingParams
from vqa.errors import InputError, VQAError
from vqa.inputs.prompts import Message
from vqa.remote.answerer import RemoteAnswerer
from vqa.remote.endpoint import Endpoint, _retry_after

KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
ASKED = Request((Message("user", "a?"),), SamplingParams())
MB = 1 << 20


def remote(server: Server, **settings: Any) -> RemoteAnswerer:
    settings = {"backoff": 0.001, "timeout": 2.0, "deadline": 8.0, "retries": 0, **settings}
    return RemoteAnswerer(server.url, "tiny", **settings)


def refusal(server: Server, step: Step, stream: bool = False, **settings: Any) -> str:
    """What is raised when every attempt meets `step`."""
    server.otherwise = step
    with pytest.raises(VQAError) as caught:
        answerer = remote(server, **settings)
        list(answerer.stream(ASKED)) if stream else answerer.answer([ASKED])
    text = str(caught.value)
    assert len(text) < 700
    assert text.isprintable()
    return text


BLANKS = b" " * 65536
EVENT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'


@pytest.mark.parametrize(
    ("step", "stream"),
    [
        (endless(BLANKS), False),
        (endless(b'{"a": [' * 9999, kind="text/html"), False),
        (endless(BLANKS, status=500), False),
        (endless(BLANKS, status=400), False),
        (endless(BLANKS, status=401), False),
        (endless(EVENT * 1000, kind="text/event-stream"), True),
        (endless(b"data: " + BLANKS, kind="text/event-stream"), True),
        (endless(b": still here\n\n" * 5000, kind="text/event-stream"), True),
        (endless(b"\r" * 65536, kind="text/event-stream"), True),
    ],
    ids=["blanks", "nested", "500", "400", "401", "events", "one line", "comments", "returns"],
)
def test_an_endless_reply_is_read_up_to_a_limit(server: Server, step: Step, stream: bool) -> None:
    tracemalloc.start()
    try:
        refusal(server, step, stream)
        assert tracemalloc.get_traced_memory()[1] < 64 * MB
    finally:
        tracemalloc.stop()
    assert server.hung_up.wait(5)
    assert server.sent < 32 * MB  # what the system's buffers hold is part of it


def _bomb(size: int) -> bytes:
    return gzip.compress(b"\0" * size)


@pytest.mark.parametrize(
    ("step", "stream"),
    [
        (packed(_bomb(300 * MB), "gzip"), False),
        (packed(_bomb(300 * MB), "gzip", "text/event-stream"), True),
        (packed(zlib.compress(b"\0" * 300 * MB), "deflate"), False),
        (packed(_bomb(300 * MB), "gzip, gzip"), False),
        (packed(b"anything", "br"), False),
        (packed(b"anything", "zstd"), False),
        (packed(b"no gzip", "gzip"), False),
        (reply_with(b"x"), True),
        (packed(zlib.compress(b"\0" * 300 * MB), "", "text/event-stream; charset=zlib"), True),
    ],
)
def test_a_packed_reply_is_unpacked_up_to_a_limit(server: Server, step: Step, stream: bool) -> None:
    tracemalloc.start()
    try:
        refusal(server, step, stream)
        assert tracemalloc.get_traced_memory()[1] < 64 * MB
    finally:
        tracemalloc.stop()


def test_an_honest_packed_reply_is_read(server: Server) -> None:
    whole = {"choices": [{"message": {"content": "a cat"}, "finish_reason": "stop"}]}
    server.otherwise = packed(gzip.compress(json.dumps(whole).encode()), "gzip")
    assert remote(server).answer([ASKED])[0].text == "a cat"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_events_come_in_pieces_of_any_size(server: Server, line_end: bytes, size: int) -> None:
    events = [
        b"\xef\xbb\xbf: a comment",
        b"",
        'data: {"choices": [{"delta": {"content": "ein Kätzchen\u2028"}}]}'.encode(),
        b"",
        b'data:{"choices": [{"delta": {"content": "!"},',
        b'data: "finish_reason": "stop"}]}',
        b"id: 7",
        b"",
        b"data: [DONE]",
        b"",
        b"",
    ]
    body = line_end.join(events)

    def step(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=latin-1")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            handler.wfile.flush()
        handler.wfile.write(b"0\r\n\r\n")

    server.otherwise = step
    *_, answer = remote(server).stream(ASKED)
    assert isinstance(answer, Answer)
    assert answer.text == "ein Kätzchen\u2028!"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [200, 500])
def test_a_request_has_a_deadline_however_slowly_its_reply_drips(
    server: Server, status: int, stream: bool
) -> None:
    kind = "text/event-stream" if stream else "application/json"
    step = endless(b":", pause=0.05, status=status, kind=kind)
    began = time.perf_counter()
    message = refusal(server, step, stream, timeout=0.5, deadline=1.5, retries=5)
    assert "no whole answer came within 1.5 seconds" in message
    assert time.perf_counter() - began < 4


def test_waits_end_with_the_deadline_and_in_sum(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = failed(429, "later", Retry_After="60")
    began = time.perf_counter()
    assert "before that: 429 later" in refusal(server, step, deadline=1.0, retries=9)
    assert time.perf_counter() - began < 4
    monkeypatch.setattr("vqa.remote.endpoint._MAX_WAIT", 1.0)
    step = failed(503, Retry_After="0.3")
    began = time.perf_counter()
    assert "503 no luck" in refusal(server, step, deadline=60.0, retries=99)
    assert time.perf_counter() - began < 4
    assert len(server.bodies) < 7


@pytest.mark.parametrize(
    "value",
    [
        "Fri, 31 Dec 9999999999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -0000",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Mon, 99 Foo 2020",
        "Mon, 1 Jan 2020 00:00:00 +99999999",
        "nan",
        "inf",
        "-1e999",
        "",
        ",",
        "9" * 5000,
        "\u00b2",
    ],
)
def test_a_broken_time_to_wait_is_none(value: str) -> None:
    wait = _retry_after(value)
    assert wait is None or wait >= 0


@fuzz
@given(st.text(alphabet="0123456789 ,:+-GMTJanFriDec.e_", max_size=60))
def test_any_time_to_wait_is_read_or_ignored(value: str) -> None:
    wait = _retry_after(value)
    assert wait is None or wait >= 0


def test_a_wait_that_is_broken_is_not_waited(server: Server) -> None:
    later = "Fri, 31 Dec 99999 23:59:59 GMT"
    server.script["a?"] = [failed(429, Retry_After=later), failed(503, Retry_After="1e999")]
    assert remote(server, retries=2).answer([ASKED])[0].text == "a? []"


def test_no_part_of_a_key_is_left_by_the_cut(server: Server) -> None:
    answerer = remote(server, api_key=KEY, retries=0)
    for status in (400, 401, 500):
        for before in (*range(262, 304, 5), 14_990):
            server.otherwise = failed(status, "x" * before + KEY + " rest")
            with pytest.raises(VQAError) as caught:
                answerer.answer([ASKED])
            assert not _pieces(KEY) & _pieces(str(caught.value))


def _pieces(text: str) -> set[str]:
    return {text[start : start + 8] for start in range(len(text) - 7)}


@pytest.mark.parametrize(
    "step",
    [
        reply_with(b"x" * 60 + KEY.encode()),
        reply_with(("\u00e4" * 30 + KEY).encode()),
        failed(500, KEY[:20] + "..."),
        failed(500, f"no such key: {KEY[12:]}"),
        failed(302, Location="http://evil.example/" + "x" * 260 + KEY),
        failed(307, Location=f"http://evil.example/?key={KEY}"),
        reply_with(json.dumps({"error": {"a": [KEY] * 50}}).encode()),
        reply_with(json.dumps({"choices": [{"finish_reason": 7, "a": "x" * 40 + KEY}]}).encode()),
    ],
)
def test_no_message_shows_the_key(server: Server, step: Step) -> None:
    text = refusal(server, step, api_key=KEY)
    assert not _pieces(KEY) & _pieces(text)


def test_a_key_with_odd_characters_is_masked_however_it_is_written(server: Server) -> None:
    key = 'a"b\\c/d+e=f%g&h'
    for text in (key, json.dumps(key), "a%22b%5Cc%2Fd%2Be%3Df%25g%26h"):
        shown = refusal(server, failed(500, f"bad key {text}"), api_key=key)
        assert "f%" not in shown and "%25g" not in shown and 'a"b' not in shown


def test_a_redirect_carries_no_key_anywhere(server: Server) -> None:
    with serving() as other:
        for status in (301, 302, 303, 307, 308):
            step = failed(status, Location=f"{other.url}/chat/completions")
            assert "redirects to" in refusal(server, step, api_key=KEY)
            assert "redirects to" in refusal(server, step, True, api_key=KEY)
        assert other.request_headers == []


def test_no_cookie_is_kept(server: Server) -> None:
    server.script["a?"] = [failed(500, Set_Cookie=f"a{n}={'x' * 3000}; Path=/") for n in range(3)]
    remote(server, retries=5).answer([ASKED])
    assert all("Cookie" not in headers for headers in server.request_headers)


def _whole(**changes: Any) -> bytes:
    whole = {"choices": [{"message": {"content": "a cat"}, "finish_reason": "stop"}]}
    return json.dumps(whole | changes).encode()


@pytest.mark.parametrize("count", [-5, 10**18, 10**400, 1.5, "7", True, None, [1], {"a": 1}])
def test_a_count_of_tokens_that_cannot_be_is_ignored(server: Server, count: Any) -> None:
    server.otherwise = reply_with(
        _whole(usage={"prompt_tokens": count, "completion_tokens": count})
    )
    (answer,) = remote(server).answer([ASKED])
    assert (answer.text, answer.prompt_tokens, answer.new_tokens) == ("a cat", 0, 0)


TOOL = {"id": "1", "type": "function", "function": {"name": "rm", "arguments": "{}"}}


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"choices": ' + b'[{"message": ' * 50_000,
        b'{"error": ' * 20_000 + b"1" + b"}" * 20_000,
        b'{"choices": [{"message": {"content": ' + b"9" * 100_000 + b"}}]}",
        b'{"choices": [{"message": {"content": "\\ud800"}, "finish_reason": "stop"}]}',
        b'\xff\xfe{\x00"\x00',
        b"",
        b"null",
        b'{"choices": "a"}',
        b'{"choices": [7]}',
        _whole(choices=[{"message": {"content": 7}, "finish_reason": "stop"}]),
        _whole(choices=[{"message": {"content": ["a"]}, "finish_reason": "stop"}]),
        _whole(choices=[{"message": {"content": None, "tool_calls": [TOOL]}}]),
        _whole(
            choices=[
                {"message": {"content": None, "tool_calls": [TOOL]}, "finish_reason": "tool_calls"}
            ]
        ),
        _whole(error={"message": "\x1b[2J\x1b]0;owned\x07" + "x" * MB}),
        _whole(error="\u202egnp.\n\n" * 1000),
        _whole(error={"message": "\ud800"}),
    ],
    ids=range(17),
)
def test_a_reply_that_is_no_answer_is_refused_in_one_line(server: Server, raw: bytes) -> None:
    for step in (reply_with(raw), lambda handler: handler.send(500, raw, "application/json")):
        refusal(server, step)
        with pytest.raises(VQAError):
            list(remote(server).stream(ASKED))


def test_an_empty_answer_is_one(server: Server) -> None:
    for message in ({"content": None}, {"content": ""}, {}):
        server.otherwise = reply_with(
            _whole(choices=[{"message": message, "finish_reason": "length"}])
        )
        (answer,) = remote(server).answer([ASKED])
        assert (answer.text, answer.finish_reason) == ("", "length")


@pytest.mark.parametrize(
    "models",
    [
        [{"id": "x" * 100_000}],
        [{"id": 7}],
        [{"id": None}],
        [{"name": "a"}],
        ["a", "b"],
        [{"id": f"model-{n}\x1b[2J"} for n in range(20_000)],
    ],
)
def test_a_list_of_models_may_be_hostile(server: Server, models: list[Any]) -> None:
    server.do_get = lambda handler: handler.json(200, {"data": models})
    with pytest.raises(InputError) as caught:
        RemoteAnswerer(server.url, None, retries=0)
    assert len(str(caught.value)) < 700 and str(caught.value).isprintable()


def test_an_endless_list_of_models_is_read_up_to_a_limit(server: Server) -> None:
    server.do_get = endless(BLANKS)
    with pytest.raises(VQAError, match="longer than"):
        RemoteAnswerer(server.url, None, retries=0)


def test_an_honest_endpoint_still_answers_after_all_that(server: Server) -> None:
    server.otherwise = answered
    assert remote(server).answer([ASKED])[0].text == "a? []"
    server.otherwise = streamed(["a", " cat"])
    *_, answer = remote(server).stream(ASKED)
    assert isinstance(answer, Answer) and answer.text == "a cat"


@fuzz
@given(st.text(), st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_whatever_is_shown_is_one_short_line(text: str, key: str) -> None:
    endpoint = Endpoint("http://localhost/v1", key, timeout=1, deadline=1, retries=0, backoff=0)
    shown = endpoint.printable(f"{text}{key}{text}" * 9)
    assert shown.isprintable() and len(shown) < 310
    assert key not in shown or key in "*...?"
