"""Answers that come in pieces, are cancelled, or are not numbers; and replies of any content."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from tests.remote.endpoint import (
    Handler,
    Server,
    answered,
    ask,
    failed,
    remote,
    silent,
    streamed,
    texts,
)
from vqa.answering import Answer
from vqa.errors import InputError, NotFiniteError, VQAError
from vqa.remote.chat_completions import CompletionReply, error_message


def test_a_stream_is_its_answer_in_pieces(server: Server) -> None:
    server.script["a?"] = [failed(500), streamed([" ", "a", " \u2028cat", " ", "\n", "sat", ". "])]
    *pieces, answer = remote(server).stream(ask("a?"))
    assert pieces == ["a", " \u2028cat", " \nsat", "."]
    assert isinstance(answer, Answer)
    assert answer.text == "a \u2028cat \nsat."
    assert (answer.finish_reason, answer.prompt_tokens, answer.new_tokens) == ("length", 7, 3)
    assert answer.probability == pytest.approx(math.exp(-0.5 * 7 / 3))
    assert 0 < answer.seconds.first_token < answer.seconds.total


def test_a_stream_that_breaks_off_is_not_begun_again(server: Server) -> None:
    server.script["a?"] = [streamed(["a", " cat"], end=False)]
    stream = remote(server).stream(ask("a?"))
    assert [next(stream), next(stream)] == ["a", " cat"]
    with pytest.raises(VQAError, match="broke off in the middle"):
        next(stream)
    assert len(server.bodies) == 1
    server.script["a?"] = [failed(400, "too long")] * 2
    with pytest.raises(InputError, match="too long"):
        next(remote(server).stream(ask("a?")))


def test_cancel_hangs_up(server: Server) -> None:
    server.otherwise = streamed(["a"] * 1000, pause=0.01)
    cancel = Event()
    got: list[str | Answer] = []
    for piece in remote(server).stream(ask("a?"), cancel):
        got.append(piece)
        if len(got) == 3:
            cancel.set()
    assert [type(piece) for piece in got] == [str, str, str, Answer]
    assert isinstance(got[-1], Answer)
    assert (got[-1].text, got[-1].finish_reason) == ("aaa", "cancelled")
    assert server.hung_up.wait(5)
    asked = len(server.bodies)
    assert [a.finish_reason for a in remote(server).answer([ask("a?")] * 2, cancel)] == [
        "cancelled"
    ] * 2
    assert [type(piece) for piece in remote(server).stream(ask("a?"), cancel)] == [Answer]
    assert len(server.bodies) == asked


def test_cancel_drops_what_is_not_answered(server: Server) -> None:
    cancel = Event()

    def until_cancelled(handler: Handler) -> None:
        cancel.set()
        silent(30)(handler)

    server.script = {"slow?": [until_cancelled]}
    answers = remote(server, concurrency=1).answer([ask("a?"), ask("slow?")], cancel)
    assert [(a.text, a.finish_reason) for a in answers] == [("a? []", "stop"), ("", "cancelled")]


def test_the_user_can_interrupt(server: Server) -> None:
    def interrupt(handler: Handler) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        silent(30)(handler)

    server.otherwise = interrupt
    answerer = remote(server, timeout=30, concurrency=1)
    with pytest.raises(KeyboardInterrupt):
        answerer.answer([ask("a?"), ask("b?")])
    server.otherwise = answered
    assert texts(answerer.answer([ask("c?")])) == ["c? []"]
    assert len(server.bodies) == 2  # b? was never sent


def test_a_caller_may_run_in_an_event_loop(server: Server) -> None:
    async def main() -> list[Answer]:
        return remote(server).answer([ask("a?")])

    assert texts(asyncio.run(main())) == ["a? []"]


def _inside(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["choices", "message", "content", "error", "logprobs", "usage"])
    return st.lists(values) | st.dictionaries(names, values)


ANYTHING = st.recursive(st.none() | st.floats() | st.text() | st.integers(), _inside)


@tries(max_examples=25, deadline=None)
@given(st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_any_reply_is_read_or_refused(raw: bytes) -> None:
    assert "\n" not in error_message(raw)
    reply = CompletionReply()
    try:
        reply.add(raw)
        reply.check()
    except ValueError:
        return
    pytest.fail("none of these is an answer")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_probabilities_that_are_none_make_an_error_of_one_answer(
    server: Server, bad: float
) -> None:
    """vLLM and others go on with text that means nothing where their logits are NaN."""
    reply = {
        "choices": [
            {
                "message": {"content": "!!!!"},
                "finish_reason": "stop",
                "logprobs": {"content": [{"logprob": -0.1}, {"logprob": bad}]},
            }
        ]
    }
    server.script["broken"] = [lambda handler: handler.json(200, reply)] * 3
    answerer = remote(server)
    outcomes = answerer.answer_each([ask("good"), ask("broken")])
    assert isinstance(outcomes[0], Answer) and outcomes[0].text.startswith("good")
    assert isinstance(outcomes[1], NotFiniteError)
    assert "the model's numbers are not finite" in str(outcomes[1])
    (alone,) = answerer.answer_each([ask("broken")])
    assert isinstance(alone, NotFiniteError)  # it has answered: no silence of the endpoint
    with pytest.raises(NotFiniteError):
        answerer.answer([ask("broken")])


def test_a_probability_that_is_not_told_is_none(server: Server) -> None:
    for score in (None, -math.inf):
        content = [{"logprob": -0.1}, {"logprob": score}]
        reply = {
            "choices": [
                {
                    "message": {"content": "cat"},
                    "finish_reason": "stop",
                    "logprobs": {"content": content},
                }
            ]
        }
        server.script["what"] = [lambda handler, reply=reply: handler.json(200, reply)]
        (answer,) = remote(server).answer([ask("what")])
        assert (answer.text, answer.probability) == ("cat", None)
