from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image

from vqa.answering import Answer, Request, Settings
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.pictures import Condition
from vqa.evaluation.predict import Outcome, predict


class Colors:
    """Answers with the color in the middle of the picture; refuses to speak of one word."""

    name = "colors"

    def __init__(self, until: int | None = None) -> None:
        self.batches: list[list[str]] = []
        self.until = until  # batches before the user presses ctrl-c

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        if self.until is not None and len(self.batches) >= self.until:
            raise KeyboardInterrupt
        (words,) = zip(*((request.messages[-1].text,) for request in requests), strict=True)
        if "forbidden" in words:
            raise InputError("this word\nis not answered")
        self.batches.append(list(words))
        return [Answer(self._look(r), "stop", 0.5) for r in requests]

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        yield from self.answer([request])

    def _look(self, request: Request) -> str:
        image = request.messages[-1].images[0]
        return f"{image.getpixel((image.width // 2, 1))} of {image.size}"


def photo(path: Path, color: str, size: tuple[int, int] = (4, 4)) -> Path:
    Image.new("RGB", size, color).save(path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> list[Example]:
    colors = ("red", "lime", "blue", "white", "black")
    paths = [photo(tmp_path / f"{c}.png", c, (4, 4 + i)) for i, c in enumerate(colors)]
    return [Example(f"q{i}", (paths[i // 2],), f"question {i}?") for i in range(10)]


def run(
    data: Sequence[Example],
    out: Path,
    answerer: Colors | None = None,
    condition: Condition = "seen",
    tokens: int = 8,
    identity: str = "m",
) -> Outcome:
    settings = Settings(max_new_tokens=tokens)
    return predict(
        answerer or Colors(), data, out, settings,
        identity=identity, condition=condition, batch_size=3,
    )  # fmt: skip


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_row_is_answered_in_order(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    assert run(data, out) == Outcome(answered=10, errors=0, kept=0)
    rows = read(out)
    assert [row["id"] for row in rows] == [example.id for example in data]
    assert rows[2]["prediction"] == "(0, 255, 0) of (4, 5)"
    assert rows[2]["probability"] == 0.5 and rows[2]["finish"] == "stop"


@pytest.mark.parametrize("batches", [0, 1, 2, 3])
def test_interrupted_and_resumed_gives_the_same_file(
    data: list[Example], tmp_path: Path, batches: int
) -> None:
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    run(data, whole)
    with pytest.raises(KeyboardInterrupt):
        run(data, parts, Colors(until=batches))
    assert len(read(parts)) == 3 * batches  # what was answered is on the disk
    rest = Colors()
    assert run(data, parts, rest).kept == 3 * batches
    assert len(rest.batches) == 4 - batches
    assert parts.read_bytes() == whole.read_bytes()


def test_a_half_written_batch_is_planned_as_before(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    whole = out.read_text()
    lines = whole.splitlines(keepends=True)
    out.write_text("".join(lines[:4]) + lines[4][:20])  # killed in the middle of a line
    again = Colors()
    assert run(data, out, again) == Outcome(answered=6, errors=0, kept=4)
    assert again.batches[0] == ["question 3?", "question 4?", "question 5?"]
    assert out.read_text() == whole


def test_only_what_has_changed_is_answered_again(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    data[0] = Example("q0", data[0].images, "another question?")
    photo(tmp_path / "blue.png", "yellow", (4, 6))  # the same file, other bytes: rows 4 and 5
    assert run(data, out) == Outcome(answered=3, errors=0, kept=7)
    rows = {row["id"]: row for row in read(out)}
    assert len(rows) == len(read(out)) == 10
    assert rows["q4"]["prediction"] == "(255, 255, 0) of (4, 6)"
    assert run(data, out, identity="other model").kept == 0
    assert run(data, out, identity="other model", tokens=9).kept == 0
    assert run(data, out, identity="other model", tokens=9, condition="blind").kept == 0
    assert run(data, out, identity="other model", tokens=9, condition="blind").kept == 10


def test_rows_that_left_the_data_leave_the_file(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    assert run(data[:4], out).kept == 4
    assert [row["id"] for row in read(out)] == ["q0", "q1", "q2", "q3"]


def test_broken_pictures_and_questions_become_error_rows(
    data: list[Example], tmp_path: Path
) -> None:
    (tmp_path / "lime.png").write_bytes(b"no picture")
    (tmp_path / "white.png").unlink()
    data[9] = Example("q9", data[9].images, "forbidden")
    out = tmp_path / "p.jsonl"
    assert run(data, out) == Outcome(answered=5, errors=5, kept=0)
    rows = {row["id"]: row for row in read(out)}
    assert {key for key, row in rows.items() if "error" in row} == {"q2", "q3", "q6", "q7", "q9"}
    assert "white.png" in rows["q6"]["error"] and "prediction" not in rows["q6"]
    assert rows["q9"]["error"] == "this word is not answered"
    assert rows["q8"]["prediction"].startswith("(0, 0, 0)")  # it shared a batch with q9
    photo(tmp_path / "lime.png", "lime", (4, 5))
    photo(tmp_path / "white.png", "white", (4, 7))
    assert run(data, out) == Outcome(answered=4, errors=1, kept=5)  # mended, and tried again
    assert len(read(out)) == 10


def test_blind_shows_grey_of_the_same_size(data: list[Example], tmp_path: Path) -> None:
    run(data, tmp_path / "p.jsonl", condition="blind")
    assert {row["prediction"] for row in read(tmp_path / "p.jsonl")} == {
        f"(128, 128, 128) of (4, {4 + i})" for i in range(5)
    }


def test_swap_shows_another_rows_picture(data: list[Example], tmp_path: Path) -> None:
    own, other = tmp_path / "own.jsonl", tmp_path / "other.jsonl"
    run(data, own)
    run(data, other, condition="swap")
    pairs = list(zip(read(own), read(other), strict=True))
    assert all(a["prediction"] != b["prediction"] for a, b in pairs)
    assert len({row["prediction"] for row in read(other)}) == 5  # every picture is shown again
    first = other.read_bytes()
    other.unlink()
    run(data, other, condition="swap")
    assert other.read_bytes() == first


def test_swap_never_shows_a_copy(tmp_path: Path) -> None:
    colors = ("red", "red", "blue", "red")
    data = [
        Example(i, (photo(tmp_path / f"{i}.png", color),), "?") for i, color in enumerate(colors)
    ]
    run(data, tmp_path / "p.jsonl", condition="swap")
    shown = [row["prediction"].split(" of ")[0] for row in read(tmp_path / "p.jsonl")]
    assert shown == ["(0, 0, 255)", "(0, 0, 255)", "(255, 0, 0)", "(0, 0, 255)"]
    with pytest.raises(InputError, match="--swap needs different pictures"):
        run(data[:2], tmp_path / "q.jsonl", condition="swap")


def test_a_file_of_something_else_is_never_overwritten(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "notes.jsonl"
    out.write_text('{"id": "q0", "question": "mine"}\n')
    with pytest.raises(InputError, match="not written by `vqa predict`"):
        run(data, out)
    assert out.read_text() == '{"id": "q0", "question": "mine"}\n'
    run(data, tmp_path / "p.jsonl")
    before = (tmp_path / "p.jsonl").read_bytes()
    with pytest.raises(InputError, match="other data"):
        run([Example("x", data[0].images, "?")], tmp_path / "p.jsonl")
    assert (tmp_path / "p.jsonl").read_bytes() == before


def test_progress_counts_every_row_once(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(data, out, Colors(until=2))
    told: list[int] = []
    predict(
        Colors(), data, out, Settings(max_new_tokens=8),
        identity="m", batch_size=3, progress=told.append,
    )  # fmt: skip
    assert sum(told) == 10 and told[0] == 6
