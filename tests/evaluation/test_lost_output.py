"""Predictions whose file, directory or disk goes away while they are written: no false success.

What cannot be written is named with its path; what stays, too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.disk import full_beyond
from vqa.answering import Answer, Request, SamplingParams
from vqa.data import read
from vqa.errors import DiskError, LostFile
from vqa.evaluation.predicting import PredictionCounts, predict
from vqa.utils.files import atomic_directory, atomic_write, open_jsonl, replaced_files

Event = Callable[[Path], None]


class Answering:
    """Answers by the question, and calls `event` at the answer `when`."""

    name = "test"

    def __init__(self, event: Callable[[], None] = lambda: None, when: int = 3) -> None:
        self.event = event
        self.when = when
        self.calls = 0

    def answer(self, requests: Sequence[Request], cancel: object = None) -> list[Answer]:
        self.calls += 1
        if self.calls == self.when:
            self.event()
        return [Answer(f"a {r.messages[0].text}", "stop", 0.5) for r in requests]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for index in range(10):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / f"{index}.png")
        rows.append({"id": index, "image": f"{index}.png", "question": f"q{index}"})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(data: Path, out: Path, answerer: Answering) -> PredictionCounts:
    examples = list(read(data, need_answers=False))
    return predict(answerer, examples, out, SamplingParams(), identity="m", batch_size=2)


def ids(path: Path) -> list[int]:
    return sorted(json.loads(line)["id"] for line in path.read_text().splitlines())


def remake(out: Path) -> None:
    shutil.rmtree(out.parent)
    out.parent.mkdir()


def put_another(out: Path) -> None:
    os.unlink(out)
    out.write_text("")


DELETIONS: dict[str, Event] = {
    "directory": lambda out: shutil.rmtree(out.parent),
    "directory made again": remake,
    "file": lambda out: os.unlink(out),
    "another in its place": put_another,
}
LAST = 5


@pytest.mark.parametrize("event", DELETIONS.values(), ids=DELETIONS)
@pytest.mark.parametrize("when", [1, 3, LAST])
def test_what_was_deleted_is_not_told_as_done(
    tmp_path: Path, data: Path, event: Event, when: int
) -> None:
    out = tmp_path / "out" / "p.jsonl"
    with pytest.raises(LostFile, match=r"p\.jsonl was deleted .* nothing of it is kept") as ended:
        run(data, out, Answering(lambda: event(out), when))
    assert ended.value.exit_code == 1
    assert run(data, out, Answering()).answered == 10 and ids(out) == list(range(10))


def move_away(out: Path) -> None:
    out.parent.rename(out.parent.with_name("elsewhere"))


def test_what_was_moved_is_kept_there_and_goes_on_once_back(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out" / "p.jsonl"
    with pytest.raises(LostFile, match=r"p\.jsonl was moved .* is kept where it is now"):
        run(data, out, Answering(lambda: move_away(out)))
    assert len(ids(tmp_path / "elsewhere" / "p.jsonl")) == 6
    (tmp_path / "elsewhere").rename(out.parent)
    done = run(data, out, Answering())
    assert (done.reused, done.answered) == (6, 4) and ids(out) == list(range(10))


def test_deleted_when_all_rows_hold(tmp_path: Path, data: Path, monkeypatch) -> None:
    out = tmp_path / "out" / "p.jsonl"
    run(data, out, Answering())
    examples = list(read(data, need_answers=False))
    with pytest.raises(LostFile):
        predict(
            Answering(), examples, out, SamplingParams(), identity="m", batch_size=2,
            progress=lambda done, total: shutil.rmtree(out.parent, ignore_errors=True),
        )  # fmt: skip


def test_pictures_that_go_away_are_errors_of_their_rows(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "p.jsonl"
    whole = data.read_bytes()

    def unmounted() -> None:
        for path in data.parent.iterdir():
            path.unlink()

    examples = list(read(data, need_answers=False))
    done = predict(
        Answering(unmounted, 1), examples, out, SamplingParams(), identity="m", batch_size=1
    )
    assert done.answered + done.errors == 10 and ids(out) == list(range(10))
    assert whole


def test_a_full_disk_is_told_with_the_file_and_the_next_run_goes_on(
    tmp_path: Path, data: Path
) -> None:
    out = tmp_path / "p.jsonl"
    with full_beyond(700), pytest.raises(DiskError, match=rf"Cannot write {out}: File too large"):
        run(data, out, Answering())
    before = out.stat().st_size
    assert 0 < before <= 700
    done = run(data, out, Answering())
    assert done.reused > 0 and done.reused + done.answered == 10 and ids(out) == list(range(10))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_device_that_is_full_is_named() -> None:
    with (
        pytest.raises(DiskError, match="Cannot write /dev/full: No space left"),
        atomic_write("/dev/full") as file,
    ):
        file.write("x" * 100_000)


def test_every_writer_says_that_its_place_is_gone(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with (
        pytest.raises(LostFile, match=r"place was deleted or moved"),
        atomic_write(place / "a.json") as file,
    ):
        file.write("{}")
        shutil.rmtree(place)
    with pytest.raises(LostFile), atomic_directory(place / "model") as directory:
        shutil.rmtree(place)
        (directory / "config.json").write_text("{}")
    with pytest.raises(LostFile), replaced_files(place) as directory:
        (directory / "config.json").write_text("{}")
        shutil.rmtree(place)
    with pytest.raises(LostFile), open_jsonl(place / "rows.jsonl") as file:
        shutil.rmtree(place)
        file.write("{}\n")
    assert list(tmp_path.iterdir()) == []


def test_every_writer_names_the_file_of_a_full_disk(tmp_path: Path) -> None:
    for writer in (atomic_directory, replaced_files):
        named = pytest.raises(DiskError, match=rf"Cannot write {tmp_path}/one: File too")
        with full_beyond(99), named, writer(tmp_path / "one") as directory:
            (directory / "config.json").write_text("x" * 1000)
    named = pytest.raises(DiskError, match=rf"Cannot write {tmp_path}/one\.json: File too")
    with full_beyond(99), named, atomic_write(tmp_path / "one.json") as file:
        file.write("x" * 1000)
    assert [path.name for path in tmp_path.iterdir() if path.name != "one"] == []


def test_an_error_of_another_file_stays_its_own(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="elsewhere"), atomic_write(tmp_path / "one") as file:
        file.write("x")
        raise OSError(5, "Input/output error", "/elsewhere/picture.png")
