"""Many at once: nobody gets another's answer, the queue is bounded, who leaves frees a place."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import openai
import pytest
from PIL import Image

from tests.serve.server import (
    Counting,
    about,
    data_url,
    events,
    gauge,
    picture_file,
    post,
    refused,
    serving,
    wait_until,
)
from vqa.answering import Answer, Request, SamplingParams
from vqa.engine import LocalEngine
from vqa.errors import InputError, VQAError
from vqa.inputs.prompts import Message
from vqa.remote.answerer import RemoteAnswerer
from vqa.serve.http_app import ServerOptions
from vqa.serve.scheduler import Scheduler
from vqa.serve.stop_texts import StopTexts


def begin(url: str, body: dict[str, Any]) -> socket.socket:
    """Ask as a raw client; the connection."""
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}"
    )
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + content)
    return connection


def hang_up_after(url: str, body: dict[str, Any], received: int) -> None:
    """Ask, and close the connection once some bytes have come."""
    with begin(url, body) as connection:
        while received > 0:
            received -= len(connection.recv(min(received, 4096)))


def test_no_answer_is_anothers(url: str, engine: LocalEngine, pictures: list[Image.Image]) -> None:
    """32 clients at once, each about its own picture and of its own length; some are streams."""
    requests = [
        Request(
            (Message("user", "what is it?" + " really?" * (i % 5), (picture,)),),
            SamplingParams(max_new_tokens=5 + i % 20),
        )
        for i, picture in enumerate(pictures)
    ]
    expected = [engine.answer([request])[0].text for request in requests]
    assert len(set(expected)) > 25

    def ask(i: int) -> str:
        request = requests[i]
        body = about(
            request.messages[0].text,
            data_url(picture_file(pictures[i])),
            max_tokens=request.settings.max_new_tokens,
            stream=bool(i % 2),
        )
        response = post(url, body)
        if not i % 2:
            text: str = response.json()["choices"][0]["message"]["content"]
            return text
        choices = (one["choices"][0] for one in events(response.text))
        return "".join(choice["delta"].get("content", "") for choice in choices)

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(32))) == expected


def test_a_full_queue_says_when_to_try_again() -> None:
    answerer = Counting()
    with serving({"c": answerer}, ServerOptions(max_batch=2, max_waiting=3)) as url:
        body = about("count", model="c", max_tokens=60)
        with ThreadPoolExecutor(5) as pool:
            waiting = [pool.submit(post, url, body) for _ in range(5)]
            wait_until(lambda: gauge(url, "vqa_requests_waiting") == 3)
            response = post(url, body)
            assert "try again in" in refused(response, 429)
            assert 1 <= int(response.headers["Retry-After"]) <= 60
            assert [one.result().status_code for one in waiting] == [200] * 5
        assert answerer.most_at_once == 2
        with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
            assert client.chat.completions.create(**body).choices[0].finish_reason == "length"


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_frees_its_place_within_a_second(stream: bool) -> None:
    with serving({"c": Counting()}, ServerOptions(max_batch=10, max_new_tokens=10**6)) as url:
        body = about("count", model="c", stream=stream)
        with ThreadPoolExecutor(10) as pool:
            if stream:  # in the middle of their answers
                list(pool.map(lambda _: hang_up_after(url, body, 3000), range(10)))
            else:  # while nothing has come
                leaving = [pool.submit(hang_up_after, url, body, 0) for _ in range(10)]
                for one in leaving:
                    one.result()
        assert wait_until(lambda: gauge(url, "vqa_requests_running") == 0) < 1
        assert post(url, body | {"max_tokens": 3}).status_code == 200


def test_who_leaves_the_queue_makes_room() -> None:
    with serving({"c": Counting()}, ServerOptions(max_batch=1, max_waiting=1)) as url:
        body = about("count", model="c", stream=True)
        with begin(url, body | {"max_tokens": 1000}):
            wait_until(lambda: gauge(url, "vqa_requests_running") == 1)
            with begin(url, body):
                wait_until(lambda: gauge(url, "vqa_requests_waiting") == 1)
                refused(post(url, body), 429)
            assert wait_until(lambda: gauge(url, "vqa_requests_waiting") == 0) < 1
            assert gauge(url, "vqa_requests_running") == 1
        assert post(url, body | {"max_tokens": 2}).status_code == 200


class Failing(Counting):
    """Fails in a way of its own at a request with `bug`, as a model does at one with `full`."""

    def open_batch(self) -> Any:
        batch = super().open_batch()
        add = batch.add

        def failing(requests: Any) -> Any:
            texts = [request.messages[-1].text for request in requests.values()]
            if "bug" in texts:
                raise KeyError("/work/secret prompt")
            if "full" in texts:
                raise VQAError("The memory is full: ask fewer questions at once.")
            return add(requests)

        batch.add = failing  # type: ignore[method-assign]
        return batch


def test_a_model_that_fails_ends_its_requests_and_not_the_server() -> None:
    with serving({"f": Failing()}) as url:
        for stream in (True, False):
            body = about("bug", model="f", stream=stream)
            assert refused(post(url, body), 500) == "the model failed to answer"
            body = about("full", model="f", stream=stream)
            assert "memory is full" in refused(post(url, body), 500)
        assert post(url, about("fine", model="f", max_tokens=2)).status_code == 200
        assert gauge(url, "vqa_requests_running") == 0


class Ending:
    """An answerer whose answers end with their first step, in which their clients leave."""

    name = "ending"

    def __init__(self) -> None:
        self.leave: Callable[[int], None] = lambda key: None
        self.most_at_once = 0
        self._keys: list[int] = []

    def answer(self, requests: Any, cancel: Any = None) -> list[Answer]:
        raise NotImplementedError

    def stream(self, request: Any, cancel: Any = None) -> Any:
        raise NotImplementedError

    def open_batch(self) -> Any:
        return self

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, requests: Mapping[int, Request]) -> list[Any]:
        self._keys += requests
        self.most_at_once = max(self.most_at_once, len(self))
        return []

    def step(self) -> list[Any]:
        time.sleep(0.01)
        keys, self._keys = self._keys, []
        for key in keys:
            self.leave(key)
        return [(key, Answer("", "stop")) for key in keys]

    def cancel(self, key: int) -> Answer:
        raise AssertionError("it has ended")


def test_who_leaves_as_its_answer_ends_frees_one_place() -> None:
    ending = Ending()
    scheduler = Scheduler({"e": ending}, max_batch=1, max_waiting=10)
    ending.leave = scheduler.cancel
    done: SimpleQueue[Any] = SimpleQueue()
    for _ in range(6):
        scheduler.submit("e", Request((Message("user", "what?"),)), done.put)
    assert [done.get(timeout=10).finish_reason for _ in range(6)] == ["stop"] * 6
    assert ending.most_at_once == 1
    scheduler.close()


class Whole:
    """An answerer without batches, as a classifier is."""

    name = "whole"

    def answer(self, requests: Any, cancel: Any = None) -> list[Answer]:
        if any("bad" in request.messages[-1].text for request in requests):
            raise InputError("one bad question")
        return [Answer(one.messages[-1].text.upper(), "stop", 0.25) for one in requests]

    def stream(self, request: Any, cancel: Any = None) -> Any:
        yield from self.answer([request])


def test_an_answerer_of_whole_answers_is_served_too(engine: LocalEngine) -> None:
    with serving({"w": Whole(), "tiny": engine}) as url:
        reply = post(url, about("yes", model="w", logprobs=True)).json()
        assert reply["choices"][0]["message"]["content"] == "YES"
        (token,) = reply["choices"][0]["logprobs"]["content"]
        assert token["logprob"] == pytest.approx(-1.386, abs=1e-3)
        (answer,) = RemoteAnswerer(f"{url}/v1", "w").answer(
            [Request((Message("user", "no one at all"),))]
        )
        assert (answer.text, answer.probability) == ("NO ONE AT ALL", pytest.approx(0.25))
        *_, last = events(post(url, about("yes", model="w", stream=True)).text)
        assert last["choices"][0]["finish_reason"] == "stop"
        assert refused(post(url, about("bad", model="w")), 400) == "one bad question"
        assert post(url, about("hello", model="tiny", max_tokens=2)).status_code == 200


def test_shutting_down_lets_answers_end() -> None:
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        with serving({"c": Counting()}) as url:
            body = about("count", model="c", max_tokens=100, stream=True)
            running = pool.submit(post, url, body)
            wait_until(lambda: gauge(url, "vqa_requests_running") == 1)
        *_, last = events(running.result().text)
        assert last["choices"][0]["finish_reason"] == "length"
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(("pieces", "stop", "result"), [
    (["abc", "def"], ["cd"], "ab"),
    (["a", "a", "a", "b"], ["aab"], "a"),
    (["ab", "c"], ["cx", "x"], "abc"),
    (["abcabd"], ["abd", "bca"], "a"),
    (["ab"], [], "ab"),
    (["a\n", "\nb"], ["\n\n"], "a"),
])  # fmt: skip
def test_stop_texts(pieces: list[str], stop: list[str], result: str) -> None:
    stops = StopTexts(stop)
    written = "".join(map(stops.add, pieces)) + stops.flush()
    assert written == result
    assert stops.stopped == ("".join(pieces) != result)
