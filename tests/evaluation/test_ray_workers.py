"""How batches are given out to workers, with threads in place of Ray's processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest

from tests.evaluation.colors import Colors, photo, read
from vqa.answering import Answer, Request, SamplingParams
from vqa.data.example import Example
from vqa.errors import VQAError
from vqa.evaluation.predicting import PredictionCounts, predict
from vqa.evaluation.ray_workers import RayWorker, RayWorkers


class Dead(Exception):
    """In place of `RayError`."""


class Failed(Dead):
    """In place of `RayTaskError`."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


@pytest.fixture(autouse=True)
def ray(monkeypatch: pytest.MonkeyPatch) -> None:
    ray, exceptions = ModuleType("ray"), ModuleType("ray.exceptions")
    values = {"put": lambda value: value, "kill": lambda actor: None}
    for name, value in values.items():
        setattr(ray, name, value)
    for name, kind in {"RayError": Dead, "RayTaskError": Failed}.items():
        setattr(exceptions, name, kind)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", exceptions)


class Actor:
    """A worker in two threads of this process; once one has died, it is dead."""

    def __init__(self, worker: RayWorker) -> None:
        self.worker = worker
        self.threads = ThreadPoolExecutor(2)
        self.dead = False

    def __getattr__(self, name: str) -> Method:
        return Method(self, getattr(self.worker, name))

    def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        if self.dead:
            raise Dead("died")
        try:
            values = [each.result() if isinstance(each, Call) else each for each in arguments]
            return method(*values)
        except SystemExit:
            self.dead = True
            raise Dead("died\nand more of it") from None
        except Exception as error:
            raise Failed(error) from error


class Method:
    def __init__(self, actor: Actor, method: Callable[..., Any]) -> None:
        self.actor, self.method = actor, method

    def remote(self, *arguments: Any) -> Call:
        return Call(self.actor.threads.submit(self.actor.call, self.method, *arguments))


class Call:
    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def future(self) -> Future[Any]:
        return self._future

    def result(self) -> Any:
        return self._future.result()


class Scripted(Colors):
    """Takes its time for `slow`; dies, or fails, at words as often as the script says."""

    def __init__(self, script: dict[str, int]) -> None:
        super().__init__()
        self.script = script

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        words = {request.messages[-1].text for request in requests}
        if "slow" in words:
            time.sleep(0.2)
        for word in words & set(self.script):
            self.script[word] -= 1
            if self.script[word] >= 0:
                raise {"die": SystemExit, "break": ValueError, "stop": VQAError}[word](word)
        return super().answer(requests)


def examples(folder: Path, words: dict[int, str]) -> list[Example]:
    return [
        Example(key, (photo(folder / f"{key}.png", "red", (4 + key, 4)),), words.get(key, "q"), ())
        for key in range(40)
    ]


def pool(
    folder: Path,
    script: dict[str, int],
    notices: list[str],
    load: Callable[[], Any] | None = None,
) -> RayWorkers:
    load = load or (lambda: (Scripted(script), "m", "float32"))
    return RayWorkers(lambda: Actor(RayWorker(load, str(folder), str(folder))), 3, notices.append)


def go(answerer: Any, rows: list[Example], out: Path) -> PredictionCounts:
    settings = SamplingParams(max_new_tokens=8)
    return predict(answerer, rows, out, settings, identity="m", batch_size=2)


def test_rows_stand_in_the_order_of_the_plan_however_long_one_takes(tmp_path: Path) -> None:
    rows = examples(tmp_path, {0: "slow", 17: "slow", 9: "forbidden"})
    one, three, again = (tmp_path / f"{name}.jsonl" for name in ("one", "three", "again"))
    go(Colors(), rows, one)
    workers = pool(tmp_path, {}, notices := [])
    assert go(workers, rows, three) == PredictionCounts(39, 1, 0)
    assert three.read_bytes() == one.read_bytes() and notices == []
    again.write_text("".join(three.read_text().splitlines(keepends=True)[:7]))
    assert go(workers, rows, again) == PredictionCounts(32, 1, 7)
    assert again.read_bytes() == one.read_bytes()


def test_another_worker_answers_what_a_dead_one_had(tmp_path: Path) -> None:
    rows = examples(tmp_path, {5: "die"})
    workers = pool(tmp_path, {"die": 2}, notices := [])
    assert go(workers, rows, tmp_path / "p.jsonl").answered == 40
    assert [row["id"] for row in read(tmp_path / "p.jsonl")] == list(range(40))
    assert notices == ["a worker has died, another takes its rows: died"] * 2


def test_rows_that_every_worker_dies_with_end_the_run(tmp_path: Path) -> None:
    rows = examples(tmp_path, {5: "die"})
    with pytest.raises(VQAError, match="3 workers have died at the rows from 4 on: died"):
        go(pool(tmp_path, {"die": 9}, []), rows, tmp_path / "p.jsonl")
    assert [row["id"] for row in read(tmp_path / "p.jsonl")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("word", "message"), [("break", "a worker failed: ValueError: break"), ("stop", "^stop$")]
)
def test_a_failure_ends_the_run(word: str, message: str, tmp_path: Path) -> None:
    rows = examples(tmp_path, {39: word})
    with pytest.raises(VQAError, match=message):
        go(pool(tmp_path, {word: 1}, []), rows, tmp_path / "p.jsonl")
    assert len(read(tmp_path / "p.jsonl")) >= 20  # what comes long before it is there


def test_workers_that_die_while_they_load_end_the_run(tmp_path: Path) -> None:
    def load() -> None:
        raise SystemExit

    with pytest.raises(VQAError, match="3 workers have died while they loaded the model: died"):
        pool(tmp_path, {}, [], load)


def test_machines_with_other_weights_end_the_run(tmp_path: Path) -> None:
    identities = iter("aab")

    def load() -> tuple[Scripted, str, str]:
        identity = next(identities)
        time.sleep(0.2 if identity == "b" else 0)
        return Scripted({}), identity, "float32"

    workers = pool(tmp_path, {}, [], load)
    assert workers.identity == "a"
    rows = examples(tmp_path, dict.fromkeys(range(40), "slow"))
    with pytest.raises(VQAError, match="have not the same model"):
        go(workers, rows, tmp_path / "p.jsonl")
