"""Text in pictures behind a server: one reader for all models, apart from their thread."""

from __future__ import annotations

import threading
import time

import pytest

from tests.reading.test_reader import SIGN
from tests.serve.server import about, data_url, picture_file, post, refused, serving
from vqa.engine import LocalEngine
from vqa.errors import InputError
from vqa.models.checkpoints import LoadedModel
from vqa.reading import TextReader
from vqa.serve.http_app import ServerOptions


def test_it_stands_before_the_question(loaded: LoadedModel) -> None:
    reader = TextReader("auto")
    answerers = {
        "tiny": LocalEngine(loaded, reader=reader),
        "other": LocalEngine(loaded, reader=reader),
    }
    body = about("What does it say?", data_url(picture_file(SIGN)), max_tokens=3)
    with serving(answerers, ServerOptions(reader=reader)) as url:
        usage = [post(url, {**body, "model": name}).json()["usage"] for name in answerers]
    with serving({"tiny": LocalEngine(loaded)}) as url:
        silent = post(url, body).json()["usage"]
    assert usage[0] == usage[1]
    assert usage[0]["prompt_tokens"] > silent["prompt_tokens"] + 5


def test_reading_holds_up_no_other_answer(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow(*given: object) -> tuple[()]:
        reading.set()
        assert go_on.wait(20)
        return ()

    monkeypatch.setattr(TextReader, "_read", slow)
    reader = TextReader()
    picture = data_url(picture_file(SIGN))
    with serving({"tiny": LocalEngine(loaded, reader=reader)}, ServerOptions(reader=reader)) as url:
        body = about("What does it say?", picture, max_tokens=2)
        statuses: list[int] = []
        thread = threading.Thread(target=lambda: statuses.append(post(url, body).status_code))
        thread.start()
        assert reading.wait(20)
        began = time.perf_counter()
        assert post(url, about("no picture", max_tokens=2)).status_code == 200
        assert time.perf_counter() - began < 10 and not statuses
        go_on.set()
        thread.join(20)
    assert statuses == [200]


def test_a_reader_that_fails_is_an_error_of_the_request(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> tuple[()]:
        raise InputError("/home/somebody/rapidocr fails: install it anew")

    monkeypatch.setattr(TextReader, "_read", fail)
    reader = TextReader()
    with serving({"tiny": LocalEngine(loaded, reader=reader)}, ServerOptions(reader=reader)) as url:
        reply = post(url, about("what?", data_url(picture_file(SIGN)), max_tokens=2))
        assert refused(reply, 500).startswith("the text in pictures cannot be read")
        assert post(url, about("what?", max_tokens=2)).status_code == 200
