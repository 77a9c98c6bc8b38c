from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chat.test_worker import Echo, ask, wait
from vqa.answering import Answer, Request
from vqa.chat.model_host import ModelHost
from vqa.chat.page_options import ModelChoice
from vqa.errors import InputError, VQAError


def test_a_model_is_loaded_and_exchanged() -> None:
    built: list[ModelChoice] = []

    def build(choice: ModelChoice) -> Echo:
        built.append(choice)
        return Echo()

    host = ModelHost(build)
    host.load(ModelChoice("one"))
    wait(lambda: not host.loading)
    first = host.worker()
    job = first.submit(ask("hello"))
    assert job.result().text == "hello"
    host.load(ModelChoice("two", quantize="4bit"))
    wait(lambda: not host.loading)
    assert host.worker() is not first
    assert built == [ModelChoice("one"), ModelChoice("two", quantize="4bit")]
    assert host.choice.name == "two"
    with pytest.raises(VQAError, match="start it again"):
        first.submit(ask("too late"))


def test_nothing_is_answered_while_it_loads_or_failed_to() -> None:
    go = threading.Event()

    def build(choice: ModelChoice) -> Echo:
        go.wait(10)
        if choice.name == "missing":
            raise InputError("no such model")
        if choice.name == "broken":
            raise RuntimeError("out of\nmemory")
        return Echo()

    host = ModelHost(build)
    host.load(ModelChoice("missing"))
    with pytest.raises(VQAError, match="still being loaded"):
        host.worker()
    go.set()
    wait(lambda: not host.loading)
    with pytest.raises(VQAError, match="no such model"):
        host.worker()
    host.load(ModelChoice("broken"))
    wait(lambda: not host.loading)
    assert str(host.error) == "broken failed to load: out of memory"
    host.load(ModelChoice())
    wait(lambda: not host.loading)
    assert host.error is None
    assert host.worker().submit(ask("hello")).result().text == "hello"


def test_the_last_choice_counts() -> None:
    go = threading.Event()
    built: list[str] = []

    def build(choice: ModelChoice) -> Echo:
        go.wait(10)
        built.append(choice.name)
        return Echo()

    host = ModelHost(build)
    for name in ("one", "two", "three"):
        host.load(ModelChoice(name))
    go.set()
    wait(lambda: not host.loading)
    assert host.choice.name == "three"
    assert built in (["one", "three"], ["three"])
    assert host.worker().submit(ask("hello")).result().text == "hello"


def test_two_choices_at_once_load_one_after_the_other() -> None:
    closing, go = threading.Event(), threading.Event()
    loading: list[str] = []
    most = 0

    class Slow(Echo):
        def stream(
            self, request: Request, cancel: threading.Event | None = None
        ) -> Iterator[str | Answer]:
            closing.set()
            go.wait(10)
            return super().stream(request, cancel)

    def build(choice: ModelChoice) -> Echo:
        nonlocal most
        loading.append(choice.name)
        most = max(most, len(loading))
        time.sleep(0.05)
        loading.remove(choice.name)
        return Slow()

    host = ModelHost(build)
    host.load(ModelChoice("one"))
    wait(lambda: not host.loading)
    host.worker().submit(ask("hello"))
    assert closing.wait(10)
    with ThreadPoolExecutor(2) as pool:  # both wait for the answer to end
        chosen = [pool.submit(host.load, ModelChoice(name)) for name in ("two", "three")]
        time.sleep(0.1)
        go.set()
        for future in chosen:
            future.result(10)
    wait(lambda: not host.loading)
    assert host.error is None and most == 1
