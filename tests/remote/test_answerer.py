"""Answers from an endpoint that fails in all ways that endpoints do."""

from __future__ import annotations

import math
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest
from PIL import Image

from tests.remote.endpoint import (
    LOGPROBS,
    Handler,
    Server,
    answered,
    ask,
    cut_off,
    failed,
    remote,
    reply_with,
    silent,
    texts,
)
from vqa.answering import Answer, Request, SamplingParams
from vqa.errors import InputError, VQAError
from vqa.inputs.prompts import Message
from vqa.remote.answerer import RemoteAnswerer, chat_completions


def test_answers_come_in_order_with_probability_and_counts(server: Server) -> None:
    red, blue = Image.new("RGB", (4, 5), "red"), Image.new("RGB", (6, 3), (1, 2, 253))
    server.script["a?"] = [silent(0.2)]  # comes last
    requests = [ask("a?", red, blue), ask("b?"), *(ask(f"{n}?", blue) for n in range(12))]
    answers = remote(server).answer(requests)
    two = "[((4, 5), (255, 0, 0)), ((6, 3), (1, 2, 253))]"
    one = "[((6, 3), (1, 2, 253))]"
    assert texts(answers) == [f"a? {two}", "b? []", *(f"{n}? {one}" for n in range(12))]
    first = answers[0]
    assert first.probability == pytest.approx(math.exp(sum(LOGPROBS) / len([*two.split(), "a?"])))
    assert (first.finish_reason, first.prompt_tokens, first.new_tokens) == ("stop", 7, 2)
    assert 0.2 < first.seconds.total < 5


def test_an_endpoint_is_not_asked_for_a_beam_search(server: Server) -> None:
    request = Request((Message("user", "what?"),), SamplingParams(num_beams=3))
    with pytest.raises(InputError, match="beam search"):
        remote(server).answer([request])
    assert server.bodies == []


def test_the_request_says_how_to_answer(server: Server) -> None:
    turns = (
        Message("system", "Be short."),
        Message("user", "what?", (Image.new("RGB", (2, 2)),)),
        Message("assistant", "a cat"),
        Message("user", "a \ud800?"),
    )
    settings = SamplingParams(max_new_tokens=9, temperature=0.5, top_p=0.9, seed=3)
    remote(server, api_key="secret-key").answer([Request(turns, settings)])
    (body,) = server.bodies
    picture = body["messages"][1]["content"].pop(0)
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert body == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "what?"}]},
            {"role": "assistant", "content": "a cat"},
            {"role": "user", "content": "a �?"},
        ],
        "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 3, "logprobs": True,
    }  # fmt: skip
    assert server.request_headers[0]["Authorization"] == "Bearer secret-key"


def test_pictures_are_parts_where_the_text_has_them(server: Server) -> None:
    colors = ("red", "lime", "blue")
    images = tuple(Image.new("RGB", (n + 1, 1), color) for n, color in enumerate(colors))
    message = Message("user", "Is <image>\ud800 a <image> of <image>", images, (3, 25))
    remote(server).answer([Request((message,))])
    (content,) = (body["messages"][0]["content"] for body in server.bodies)
    pictures = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    assert pictures == [chat_completions.data_url(image) for image in images]
    assert [part.get("text") for part in content] == [
        None, "Is ", None, "\ufffd a <image> of ", None,
    ]  # fmt: skip


def test_what_fails_for_a_while_is_asked_again(server: Server) -> None:
    server.script = {
        "error?": [failed(500), failed(502), failed(408)],
        "busy?": [failed(429, Retry_After="0.3"), failed(503, Retry_After="soon")],
        "slow?": [silent(2.0)],
        "cut?": [cut_off],
        "page?": [reply_with(b"<html>starting</html>")],
        "aborted?": [reply_with(b'{"choices": [{"message": {}, "finish_reason": "abort"}]}')],
        "inside?": [reply_with(b'{"error": {"message": "overloaded"}}')],
        "empty?": [reply_with(b'{"choices": []}')],
    }
    expected = [f"{question} []" for question in server.script]
    requests = [ask(question) for question in server.script]
    attempts = sum(len(steps) + 1 for steps in server.script.values())
    began = time.perf_counter()
    assert texts(remote(server, timeout=0.5).answer(requests)) == expected
    assert 0.3 < time.perf_counter() - began < 5
    assert len(server.bodies) == attempts


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (failed(500, "out of\nmemory"), "500 out of memory"),
        (
            reply_with(b"<html>wrong page</html>"),
            "no chat completion, but '<html>wrong page</html>'",
        ),
        (silent(30), "nothing came within 0.2 seconds"),
        (failed(429, Retry_After="4000"), "429 no luck"),
        (failed(503, Retry_After=formatdate(time.time() + 4000, usegmt=True)), "503 no luck"),
    ],
)
def test_an_endpoint_that_always_fails_has_failed(server: Server, step: Any, says: str) -> None:
    server.otherwise = step
    answerer = remote(server, retries=2, timeout=0.2)
    with pytest.raises(VQAError) as caught:
        answerer.answer([ask("a?"), ask("b?")])
    assert not isinstance(caught.value, InputError)
    assert str(caught.value).startswith(f"{server.url} does not answer: ")
    assert says in str(caught.value)
    assert "`base_url`" in str(caught.value)
    assert len(server.bodies) == (2 if "429" in says or "503" in says else 6)


def test_nobody_there() -> None:
    for model in (None, "tiny"):
        with pytest.raises(
            VQAError, match=r"127\.0\.0\.1:9/v1 does not answer: .*start the server"
        ):
            RemoteAnswerer("http://127.0.0.1:9/v1/", model, retries=1, backoff=0.001).answer(
                [ask("a?")]
            )


def test_one_refused_request_does_not_take_the_others_with_it(server: Server) -> None:
    server.script = {"long?": [failed(400, "too long")] * 9, "crash?": [failed(500)] * 9}
    requests = [ask("a?"), ask("long?"), ask("crash?"), ask("b?"), Request(())]
    answerer = remote(server, retries=1)
    outcomes = answerer.answer_each(requests)
    assert texts(outcomes) == [
        "a? []",
        f"InputError: {server.url} refuses the request: 400 too long",
        f"InputError: {server.url} does not answer: 500 no luck; "
        "start the server or check `base_url`.",
        "b? []",
        "InputError: The conversation is empty: give at least one message.",
    ]
    assert sum(body["messages"][-1]["content"] == "a?" for body in server.bodies) == 1
    with pytest.raises(InputError, match="too long"):
        answerer.answer([ask("a?"), ask("long?")])
    with pytest.raises(InputError, match="ends with an answer"):
        answerer.answer([Request((Message("user", "a?"), Message("assistant", "b")))])
    assert answerer.answer([]) == answerer.answer_each([]) == []


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "check the API key"), (404, "check the `base_url`")]
)
def test_what_would_refuse_everything_ends_at_once(
    server: Server, status: int, advice: str
) -> None:
    server.otherwise = failed(status, "no: secret-key")
    with pytest.raises(InputError, match=rf"{status} no: \*\*\*; {advice}"):
        remote(server, api_key="secret-key", concurrency=1).answer_each([ask("a?")] * 20)
    assert len(server.bodies) < 3


def test_no_redirect_is_followed(server: Server) -> None:
    server.otherwise = failed(307, Location="http://localhost:1/v1/chat/completions")
    with pytest.raises(InputError, match="redirects to 'http://localhost:1/"):
        remote(server, api_key="secret-key").answer([ask("a?")])
    assert len(server.bodies) == 1


def test_logprobs_are_left_out_where_they_are_refused(server: Server) -> None:
    def without(handler: Handler) -> None:
        refuse = failed(400, "unknown field") if "logprobs" in handler.body else answered
        refuse(handler)

    server.otherwise = without
    answerer = remote(server, concurrency=1)
    for question in "abc":
        (answer,) = answerer.answer([ask(question)])
        assert (answer.text, answer.probability) == (f"{question} []", None)
    assert ["logprobs" in body for body in server.bodies] == [True, False, False, False]


def test_a_refused_row_does_not_turn_logprobs_off(server: Server) -> None:
    server.script = {"bad?": [failed(400)] * 9}
    answerer = remote(server, concurrency=1)
    outcomes = answerer.answer_each([ask("bad?"), ask("a?"), ask("bad?")])
    assert [isinstance(outcome, Answer) for outcome in outcomes] == [False, True, False]
    assert ["logprobs" in body for body in server.bodies] == [True, False, True, True]


def test_concurrency_is_bounded(server: Server) -> None:
    server.otherwise = silent(0.05)
    answerer = remote(server, concurrency=3)
    threads = [
        threading.Thread(target=answerer.answer, args=([ask(f"{i} {n}") for n in range(6)],))
        for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.bodies) == 12
    assert server.most_active == 3


def test_the_only_model_is_found(server: Server) -> None:
    answerer = RemoteAnswerer(server.url, None, api_key="secret-key")
    assert answerer.name == "tiny"
    assert server.request_headers[0]["Authorization"] == "Bearer secret-key"
    server.models = ["b", "a"]
    with pytest.raises(InputError, match="serves a, b: choose one with `model`"):
        RemoteAnswerer(server.url, None)
    server.models = []
    with pytest.raises(InputError, match="serves none"):
        RemoteAnswerer(server.url, None)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("localhost:8000/v1", None),
        ("ftp://localhost/v1", None),
        ("http://", None),
        ("http://localhost:99999/v1", None),
        ("http://user:secret-key@localhost/v1", None),
        ("http://localhost/v1?key=secret-key", None),
        ("http://localhost/v1", "secret-key\r\nX: y"),
        ("http://localhost/v1", "secret-kéy"),
    ],
)
def test_a_wrong_address_or_key_is_refused_and_not_told(url: str, key: str | None) -> None:
    with pytest.raises(InputError) as caught:
        RemoteAnswerer(url, "tiny", api_key=key)
    assert "secret" not in str(caught.value)
