"""Runs whose end nobody could write down: the disk was full, or their server is gone."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest

from tests.batches.painter import Painter, pictures, questions, until
from vqa.batches import Batches, Limits, Run
from vqa.batches.run_store import RunStore
from vqa.chat import Worker
from vqa.errors import InputError


class FullDisk:
    """In place of `RunStore.save`: fails once for each run that is to get one of `states`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *states: str) -> None:
        self._states = list(states)
        self._save = RunStore.save
        monkeypatch.setattr(RunStore, "save", lambda store, run: self.save(store, run))

    def save(self, store: RunStore, run: Run) -> None:
        if run.state in self._states:
            self._states.remove(run.state)
            raise OSError(errno.ENOSPC, "No space left on device")
        self._save(store, run)


@pytest.mark.timeout(60)
def test_a_full_disk_does_not_keep_others_from_being_answered(
    worker: Worker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    FullDisk(monkeypatch, "failed")
    workers: list[Worker] = []
    batches = Batches(tmp_path, lambda: workers[0])  # there is no model yet
    first = batches.start("ann", "a.jsonl", questions(5), pictures())
    until(lambda: batches.progress(first) is None)
    assert batches.run("ann", first).state == "stopped"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "No space left on device" in caplog.text

    workers.append(worker)
    second = batches.start("ann", "b.jsonl", questions(5), pictures(), limits=Limits(active=1))
    batches.go_on("ann", first)
    batches.wait(first)
    assert [run.state for run in batches.runs("ann")] == ["done", "done"]
    batches.delete("ann", first)
    assert [run.id for run in batches.runs("ann")] == [second]


def test_a_run_that_waits_is_deleted_from_a_full_disk(
    batches: Batches, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter.gate.clear()
    first = batches.start("ann", "a.jsonl", questions(5), pictures())
    second = batches.start("ann", "b.jsonl", questions(5), pictures())
    FullDisk(monkeypatch, "stopped")
    batches.delete("ann", second)
    assert [run.id for run in batches.runs("ann")] == [first]
    painter.gate.set()
    batches.wait(first)


def test_nothing_remains_of_a_run_that_could_not_be_queued(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, "waiting")
    with pytest.raises(InputError, match="cannot be kept: No space left"):
        batches.start("ann", "a.jsonl", questions(5), pictures())
    assert not list(batches.store.directory.iterdir())


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whatever_ends_the_thread_the_next_run_is_answered(
    batches: Batches, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Batches._predict

    def exit_once(*_: object) -> None:
        monkeypatch.setattr(Batches, "_predict", predict)
        raise SystemExit

    monkeypatch.setattr(Batches, "_predict", exit_once)
    first = batches.start("ann", "a.jsonl", questions(5), pictures())
    batches.wait(first)
    second = batches.start("ann", "b.jsonl", questions(5), pictures())
    batches.wait(second)
    assert [run.state for run in batches.runs("ann")] == ["done", "stopped"]


@pytest.mark.timeout(60)
def test_nobody_waits_for_a_thread_that_is_not_alive(batches: Batches) -> None:
    key = batches.start("ann", "a.jsonl", questions(5), pictures())
    batches.wait(key)
    batches._running = key, Event(), Thread()
    batches.wait(key)


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_run_of_a_server_that_is_gone_can_be_gone_on_with(
    batches: Batches, worker: Worker, state: str
) -> None:
    key = batches.start("ann", "a.jsonl", questions(5), pictures())
    batches.wait(key)
    run = batches.run("ann", key)
    other = psutil.Process(os.getppid())
    for process, began in (
        (2**22 + 1, other.create_time()),  # there is no such process
        (other.pid, other.create_time() - 3600),  # a later one has its number, as after a reboot
        (other.pid, 0),  # a record of an older version
        (os.getpid(), psutil.Process().create_time()),  # what a server that has ended had, too
    ):
        now = {"state": state, "process": process, "process_began": began}
        batches.store.save(run.model_copy(update=now))
        again = Batches(batches.store.directory, lambda: worker)
        assert again.run("ann", key).state == "stopped"
        again.stop("ann", key)
        assert [run.state for run in again.runs("ann")] == ["stopped"]
        again.go_on("ann", key)
        again.wait(key)
        assert again.run("ann", key).state == "done"


def test_a_run_of_a_server_that_lives_is_left_to_it(batches: Batches, worker: Worker) -> None:
    key = batches.start("ann", "a.jsonl", questions(1), pictures())
    batches.wait(key)
    run = batches.run("ann", key)
    other = psutil.Process(os.getppid())
    now = {"state": "running", "process": other.pid, "process_began": other.create_time()}
    batches.store.save(run.model_copy(update=now))
    again = Batches(batches.store.directory, lambda: worker)
    again.stop("ann", key)
    again.go_on("ann", key)
    assert again.progress(key) is None and again.run("ann", key).state == "running"
    with pytest.raises(InputError, match="not done yet"):
        again.start("ann", "b.jsonl", questions(1), pictures(), limits=Limits(active=1))
