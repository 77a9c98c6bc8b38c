"""The log of the server: a line of JSON for each request, and nothing of what was asked."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.serve.server import (
    Counting,
    about,
    data_url,
    gauge,
    picture_file,
    post,
    serving,
    wait_until,
)
from vqa.engine import LocalEngine
from vqa.models.checkpoints import LoadedModel
from vqa.serve.access import ApiKeys
from vqa.serve.http_app import ServerOptions

KEY = "secret-key-of-somebody"
SECRET = "who is hidden in the cellar"


@pytest.fixture(scope="module")
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="module")
def logged(loaded: LoadedModel, log: io.StringIO) -> Iterator[str]:
    answerers = {"tiny": LocalEngine(loaded), "slow": Counting()}
    with serving(answerers, ServerOptions(keys=ApiKeys([KEY]), log=log)) as url:
        yield url


def lines_after(log: io.StringIO, count: int, start: int) -> list[dict[str, Any]]:
    wait_until(lambda: log.getvalue().count("\n") >= start + count)
    return [json.loads(line) for line in log.getvalue().splitlines()[start:]]


def test_a_line_a_request_without_texts_pictures_and_keys(
    logged: str, log: io.StringIO, pictures: list[Image.Image]
) -> None:
    start = log.getvalue().count("\n")
    picture = data_url(picture_file(pictures[0]))
    key = {"Authorization": f"Bearer {KEY}"}
    whole = post(logged, about(SECRET, picture, max_tokens=5), **key)
    streamed = post(logged, about(SECRET, picture, max_tokens=4, stream=True), **key)
    refused = post(logged, about(SECRET, picture), Authorization="Bearer another-key-of-somebody")
    broken = post(logged, {"messages": SECRET}, **key)
    unknown = httpx2.get(f"{logged}/{SECRET}?{SECRET}", headers=key)
    models = httpx2.get(f"{logged}/v1/models/tiny", headers=key)
    httpx2.get(f"{logged}/health")  # is asked every few seconds, and not logged

    rows = lines_after(log, 6, start)
    assert [row["status"] for row in rows] == [200, 200, 401, 400, 404, 200]
    replies = [whole, streamed, refused, broken, unknown, models]
    assert [row["id"] for row in rows] == [reply.headers["x-request-id"] for reply in replies]
    assert len({row["id"] for row in rows}) == 6
    first, second = rows[:2]
    assert first["path"] == "/v1/chat/completions" and first["method"] == "POST"
    assert (first["model"], first["stream"], second["stream"]) == ("tiny", False, True)
    usage = whole.json()["usage"]
    assert first["prompt_tokens"] == second["prompt_tokens"] == usage["prompt_tokens"]
    assert (first["completion_tokens"], second["completion_tokens"]) == (5, 4)
    assert first["finish_reason"] == second["finish_reason"] == "length"
    assert 0 < first["first_token_seconds"] <= first["answer_seconds"] <= first["seconds"] < 30
    assert rows[4]["path"] == "other" and rows[5]["path"] == "/v1/models/{name:path}"
    text = log.getvalue()
    answer = whole.json()["choices"][0]["message"]["content"]
    for kept_out in (SECRET, picture[:60], KEY, "another-key", "127.0.0.1", answer):
        assert kept_out not in text and json.dumps(kept_out)[1:-1] not in text


def test_clients_that_leave_and_stop_texts(logged: str, log: io.StringIO) -> None:
    start = log.getvalue().count("\n")
    key = {"Authorization": f"Bearer {KEY}"}
    body = about("count", model="slow", max_tokens=1000, stream=True)
    with httpx2.stream("POST", f"{logged}/v1/chat/completions", json=body, headers=key) as reply:
        next(reply.iter_text())
    (row,) = lines_after(log, 1, start)
    assert row["status"] == 200 and row["finish_reason"] == "cancelled"
    assert 0 < row["completion_tokens"] < 900

    body = about("count", model="slow", max_tokens=1000, stop="7 ")
    assert post(logged, body, **key).json()["choices"][0]["finish_reason"] == "stop"
    with pytest.raises(httpx2.TimeoutException):
        body = about("count", model="slow", max_tokens=1000)
        httpx2.post(f"{logged}/v1/chat/completions", json=body, headers=key, timeout=0.5)
    stopped, left = lines_after(log, 3, start)[1:]
    assert (stopped["status"], stopped["finish_reason"]) == (200, "stop")
    assert (left["status"], left["finish_reason"]) == (499, "cancelled")


class Failing:
    """A space whose model breaks, with a message that is nobody's business."""

    name = "space"

    def encode_images(self, images: Any) -> Any:
        raise RuntimeError(SECRET)

    def encode_texts(self, texts: Any) -> Any:
        raise RuntimeError(SECRET)


def test_a_failure_that_nobody_expected_is_logged_and_counted(
    loaded: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    log = io.StringIO()
    with serving({"tiny": LocalEngine(loaded)}, ServerOptions(log=log), Failing()) as url:
        reply = post(url, {"input": "a dog"}, "/v1/embeddings")
        assert reply.status_code == 500 and "the server failed" in reply.text
        assert SECRET not in reply.text
        (row,) = lines_after(log, 1, 0)
        assert (row["status"], row["path"]) == (500, "/v1/embeddings")
        assert row["id"] == reply.headers["x-request-id"]
        figures = httpx2.get(f"{url}/metrics").text
    assert 'vqa_http_replies_total{path="/v1/embeddings",status="500"} 1.0' in figures
    assert "a request failed" in caplog.text and SECRET not in log.getvalue()


def test_answers_that_nobody_waited_for_are_in_no_figure() -> None:
    with serving({"slow": Counting()}) as url:
        body = about("count", model="slow", max_tokens=1000, stream=True)
        with httpx2.stream("POST", f"{url}/v1/chat/completions", json=body) as reply:
            next(reply.iter_text())
        wait_until(lambda: gauge(url, "vqa_requests_running") == 0)
        assert gauge(url, "vqa_answer_seconds_count") == 0
        post(url, about("count", model="slow", max_tokens=3))
        assert gauge(url, "vqa_answer_seconds_count") == 1


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_stops_no_answer(
    loaded: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with serving({"tiny": LocalEngine(loaded)}, ServerOptions(log=FullDisk())) as url:
        for _ in range(2):
            assert post(url, about("what?", max_tokens=2)).status_code == 200
    assert [record.message for record in caplog.records if "logged" in record.message] == [
        "requests are no longer logged: [Errno 28] No space left on device"
    ]
