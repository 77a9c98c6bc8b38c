from __future__ import annotations

import io
import json
import os
import threading
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Event

import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from tests.batches.painter import (
    COLORS,
    Painter,
    answers,
    pictures,
    png,
    questions,
    until,
)
from vqa.answering import Answer, Request
from vqa.batches import Batches, Limits, NotFoundError
from vqa.chat import Worker
from vqa.errors import InputError, VQAError
from vqa.evaluation.predictions import read_predictions


@pytest.mark.parametrize("folder", ["", "photos/"])
def test_a_run_is_answered_in_the_background(batches: Batches, folder: str) -> None:
    key = batches.start("ann", "my rows.jsonl", questions(), pictures(folder), max_new_tokens=9)
    batches.wait(key)
    run = batches.run("ann", key)
    assert (run.state, run.done, run.errors, run.rows) == ("done", 25, 0, 25)
    assert run.model == "painter" and run.with_answers == 25 and run.name == "my rows.jsonl"
    assert answers(batches, run)[6] == "(0, 255, 0)"
    about = json.loads(Path(f"{batches.store.predictions(run)}.run.json").read_text())
    assert about["settings"]["max_new_tokens"] == 9 and about["data"]["file"] == "my rows.jsonl"


def test_the_first_picture_that_is_there_shows_where_all_lie(batches: Batches) -> None:
    embedded = f"data:image/png;base64,{b64encode(png('white')).decode()}"
    images = (embedded, "gone.png", "red.png", "blue.png")
    lines = [{"image": image, "question": "What?"} for image in images]
    data = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    for folder in ("photos/", ""):
        key = batches.start("ann", "rows.jsonl", io.BytesIO(data), pictures(folder))
        batches.wait(key)
        run = batches.run("ann", key)
        assert (run.rows, run.errors) == (4, 1)
        assert [*answers(batches, run).values()] == [
            "(255, 255, 255)", None, "(255, 0, 0)", "(0, 0, 255)",
        ]  # fmt: skip


def test_the_search_for_the_first_picture_heeds_the_limit(batches: Batches) -> None:
    bad = io.BytesIO(b'{"image": "red.png"}\n' * 3 + questions(1).getvalue() + b"no json\n" * 9)
    for data in (questions(6, image="cat.png"), bad):
        with pytest.raises(InputError, match="more than 5 rows"):
            batches.start("ann", "a.jsonl", data, pictures("photos/"), limits=Limits(rows=5))


def test_progress_stop_and_go_on(batches: Batches, painter: Painter) -> None:
    painter.gate.clear()
    key = batches.start("ann", "a.jsonl", questions(), pictures())
    until(lambda: painter.batches == 1)
    assert batches.progress(key) is not None
    painter.gate.set()
    until(lambda: painter.batches > 1 or batches.progress(key) is None)
    batches.wait(key)
    assert batches.progress(key) is None

    painter.gate.clear()
    painter.batches = 0
    other = batches.start("ann", "b.jsonl", questions(40), pictures())
    until(lambda: painter.batches == 1)
    batches.stop("ann", other)
    batches.wait(other)
    run = batches.run("ann", other)
    assert (run.state, run.done) == ("stopped", 0)  # what was cut off does not count
    painter.gate.set()
    batches.go_on("ann", other)
    batches.wait(other)
    run = batches.run("ann", other)
    assert (run.state, run.done) == ("done", 40)
    assert set(answers(batches, run)) == set(range(40))


def test_the_rest_is_answered_after_a_restart(
    batches: Batches, painter: Painter, worker: Worker
) -> None:
    key = batches.start("ann", "a.jsonl", questions(40), pictures())
    batches.wait(key)
    run = batches.run("ann", key)
    file = batches.store.predictions(run)
    first = file.read_text().splitlines(keepends=True)[:8]
    file.write_text("".join(first))  # as if killed after a batch, while it ran
    batches.store.save(run.model_copy(update={"state": "running", "process": os.getpid()}))
    again = Batches(batches.store.directory, lambda: worker)
    assert again.run("ann", key).state == "stopped"
    painter.batches = 0
    again.go_on("ann", key)
    again.wait(key)
    assert painter.batches == 4  # of five
    assert again.run("ann", key).state == "done" and len(answers(again, run)) == 40


def test_nobody_sees_the_runs_of_others(batches: Batches) -> None:
    key = batches.start("ann", "a.jsonl", questions(3), pictures())
    batches.wait(key)
    assert batches.runs("bob") == []
    for act in (batches.run, batches.stop, batches.delete, batches.go_on):
        with pytest.raises(NotFoundError):
            act("bob", key)
    for name in ("..", f"../batches/{key}", "", "a" * 22):
        with pytest.raises(NotFoundError):
            batches.run("ann", name)
    assert [run.id for run in batches.runs("ann")] == [key]


def test_runs_wait_for_each_other_and_the_latest_is_first(
    batches: Batches, painter: Painter
) -> None:
    painter.gate.clear()
    first = batches.start("ann", "a.jsonl", questions(3), pictures())
    second = batches.start("bob", "b.jsonl", questions(3), pictures())
    third = batches.start("ann", "c.jsonl", questions(3), pictures())
    until(lambda: painter.batches == 1)
    waits = [batches.progress(key) for key in (first, second, third)]
    assert [wait and wait.ahead for wait in waits] == [0, 1, 2]
    batches.stop("bob", second)
    assert batches.run("bob", second).state == "stopped"
    painter.gate.set()
    batches.wait(third)
    assert [run.id for run in batches.runs("ann")] == [third, first]
    assert [run.state for run in batches.runs("ann")] == ["done", "done"]


def test_a_run_is_deleted_with_all_its_files(batches: Batches, painter: Painter) -> None:
    painter.gate.clear()
    key = batches.start("ann", "a.jsonl", questions(), pictures())
    until(lambda: painter.batches == 1)
    batches.delete("ann", key)
    assert batches.runs("ann") == [] and not list(batches.store.directory.iterdir())
    painter.gate.set()
    other = batches.start("ann", "b.jsonl", questions(2), pictures())
    batches.wait(other)
    assert batches.run("ann", other).state == "done"


def test_bad_rows_are_listed_and_the_others_answered(batches: Batches) -> None:
    data = questions(3)
    data.seek(0, 2)
    data.write(b'{"image": "red.png"}\nno json\n{"image": "../x.png", "question": "q"}\n')
    data.write(b'{"id": "gone", "image": "gone.png", "question": "q"}\n')
    key = batches.start("ann", "rows.jsonl", data, pictures())
    batches.wait(key)
    run = batches.run("ann", key)
    assert run.bad_count == 3 and [bad.line for bad in run.bad] == [4, 5, 6]
    assert str(batches.store.directory) not in " ".join(bad.reason for bad in run.bad)
    assert run.state == "done" and run.rows == 4 and run.errors >= 1
    predictions = read_predictions(batches.store.predictions(run))
    assert predictions["gone"].error is not None and predictions[0].text is not None


def test_useless_data_is_refused_in_a_line_and_leaves_nothing(batches: Batches) -> None:
    cases = [
        (io.BytesIO(b""), pictures(), "is empty"),
        (io.BytesIO(b"hello"), pictures(), "rows.jsonl:1: not JSON"),
        (io.BytesIO(b'{"image": "a.png"}\n'), pictures(), "rows.jsonl:1"),
        (questions(3), None, "None of the pictures is there.*red.png"),
        (questions(3, image="cat.png"), pictures(), "None of the pictures is there.*cat.png"),
        (questions(3), io.BytesIO(b"no zip"), "no zip file"),
    ]
    for data, zipped, message in cases:
        with pytest.raises(InputError, match=message) as error:
            batches.start("ann", "rows.jsonl", data, zipped)
        assert str(batches.store.directory) not in str(error.value)
        assert len(str(error.value).splitlines()) == 1
    assert batches.runs("ann") == [] and not list(batches.store.directory.iterdir())


def test_limits(batches: Batches, painter: Painter) -> None:
    limits = Limits(rows=5, runs=2, active=1)
    with pytest.raises(InputError, match="more than 5 rows"):
        batches.start("ann", "a.jsonl", questions(6), pictures(), limits=limits)
    painter.gate.clear()
    batches.start("ann", "a.jsonl", questions(5), pictures(), limits=limits)
    with pytest.raises(InputError, match="not done yet"):
        batches.start("ann", "b.jsonl", questions(5), pictures(), limits=limits)
    other = batches.start("bob", "b.jsonl", questions(5), pictures(), limits=limits)
    painter.gate.set()
    batches.wait(other)
    key = batches.start("ann", "b.jsonl", questions(5), pictures(), limits=limits)
    batches.wait(key)
    with pytest.raises(InputError, match="delete one"):
        batches.start("ann", "c.jsonl", questions(5), pictures(), limits=limits)


def test_runs_that_begin_at_once_pass_no_limit(batches: Batches, painter: Painter) -> None:
    painter.gate.clear()
    together = Barrier(4)

    class Slow(io.BytesIO):
        """An upload that is copied once all of them are."""

        def seek(self, *given: int) -> int:
            together.wait(10)
            return super().seek(*given)

    def start(_: int) -> str:
        data = Slow(questions(2).getvalue())
        try:
            return batches.start("ann", "a.jsonl", data, pictures(), limits=Limits(active=1))
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(start, range(4)))
    assert sum("not done yet" in outcome for outcome in outcomes) == 3
    assert len(batches.runs("ann")) == len(list(batches.store.directory.iterdir())) == 1
    painter.gate.set()


def test_files_of_this_machine_stay_where_they_are(batches: Batches, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for color in COLORS:
        (tmp_path / "mine" / f"{color}.png").write_bytes(png(color))
    data = tmp_path / "rows.csv"
    data.write_text("image,question\nred.png,What?\n")
    key = batches.start_here("local", data, tmp_path / "mine")
    batches.wait(key)
    run = batches.run("local", key)
    assert run.state == "done" and list(answers(batches, run).values()) == ["(255, 0, 0)"]
    batches.delete("local", key)
    assert data.exists() and (tmp_path / "mine" / "red.png").exists()
    for missing in (tmp_path / "none.csv", Path("user/name")):
        with pytest.raises(InputError, match="no such file"):
            batches.start_here("local", missing)


def test_pictures_inside_the_data_are_deleted_with_the_run(
    batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    rows = [{"image": {"bytes": png("red"), "path": None}, "question": "What?"}]
    file = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(rows), file)
    key = batches.start("ann", "a.parquet", file)
    batches.wait(key)
    run = batches.run("ann", key)
    assert run.state == "done" and list(answers(batches, run).values()) == ["(255, 0, 0)"]
    assert not (tmp_path / "cache").exists()
    batches.delete("ann", key)
    assert not list(batches.store.directory.iterdir())


def test_another_model_stops_a_run_and_does_not_go_on_with_it(tmp_path: Path) -> None:
    first, second = Painter("first"), Painter("second")
    workers = [Worker(first)]
    batches = Batches(tmp_path, lambda: workers[-1])
    first.gate.clear()
    key = batches.start("ann", "a.jsonl", questions(), pictures())
    until(lambda: first.batches == 1)
    workers[0].close()  # as `Host.load` does
    batches.wait(key)
    assert batches.run("ann", key).state == "stopped"
    batches.go_on("ann", key)
    batches.wait(key)
    assert batches.run("ann", key).state == "failed"  # no model
    workers.append(Worker(second))
    batches.go_on("ann", key)
    batches.wait(key)
    run = batches.run("ann", key)
    assert run.state == "failed" and run.reason.startswith("first has answered this run so far")
    first.gate.set()
    workers.append(Worker(first))
    batches.go_on("ann", key)
    batches.wait(key)
    assert batches.run("ann", key).state == "done"
    for worker in workers:
        worker.close()


def test_whatever_a_model_raises_ends_only_its_run(tmp_path: Path) -> None:
    class Broken(Painter):
        def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
            if self.batches == 0:
                self.batches += 1
                raise RuntimeError("index 7\nis out of range")
            raise VQAError("the device's memory is full")

    with Worker(Broken()) as worker:
        batches = Batches(tmp_path, lambda: worker)
        reasons = []
        for _ in range(2):
            key = batches.start("ann", "a.jsonl", questions(3), pictures())
            batches.wait(key)
            run = batches.run("ann", key)
            reasons.append((run.state, run.reason))
    assert reasons == [
        ("failed", "The model failed: index 7 is out of range"),
        ("failed", "the device's memory is full"),
    ]


def test_chat_questions_are_answered_meanwhile(
    batches: Batches, painter: Painter, worker: Worker
) -> None:
    from vqa.chat import Conversation

    painter.gate.clear()
    key = batches.start("ann", "a.jsonl", questions(), pictures())
    until(lambda: painter.batches == 1)
    talk = Conversation().ask("What?", [Image.new("RGB", (8, 8), "blue")])
    assert worker.submit(talk.request()).result().text == "(0, 0, 255)"
    assert batches.progress(key) is not None
    painter.gate.set()
    batches.wait(key)


def test_a_model_is_free_once_its_worker_is_closed(tmp_path: Path) -> None:
    """What is loaded next must not have to share the memory."""
    import gc
    import weakref

    painter = Painter()
    painter.gate.clear()
    workers = [Worker(painter)]
    batches = Batches(tmp_path, lambda: workers[0])
    key = batches.start("ann", "a.jsonl", questions(), pictures())
    reference = weakref.ref(painter)
    until(lambda: (model := reference()) is not None and model.batches == 1)
    workers.pop().close()
    batches.wait(key)
    del painter
    gc.collect()
    assert reference() is None


def test_what_a_kill_left_of_an_upload_is_removed(batches: Batches, worker: Worker) -> None:
    abandoned = batches.store.directory / ("a" * 22)
    abandoned.mkdir(parents=True)
    (abandoned / "file").write_text("x")
    Batches(batches.store.directory, lambda: worker)
    assert abandoned.exists()  # somebody may be uploading it now
    os.utime(abandoned, (1, 1))
    Batches(batches.store.directory, lambda: worker)
    assert not abandoned.exists()


def test_many_pages_act_at_once(batches: Batches) -> None:
    keys: list[str] = []

    def act(owner: str) -> None:
        for _ in range(3):
            key = batches.start(owner, "a.jsonl", questions(9), pictures())
            keys.append(key)
            batches.stop(owner, key)
            batches.go_on(owner, key)
            with suppress(InputError):
                batches.runs(owner)

    threads = [threading.Thread(target=act, args=(f"o{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for key in keys:
        batches.wait(key)
    for n in range(4):
        for run in batches.runs(f"o{n}"):
            assert run.state in ("done", "stopped")
