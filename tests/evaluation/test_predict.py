from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.evaluation.colors import Colors, photo, read
from vqa.answering import Answer, Request, Settings
from vqa.data.example import Example
from vqa.errors import InputError, VQAError
from vqa.evaluation.asking import Cancelled
from vqa.evaluation.pictures import Condition
from vqa.evaluation.predict import Outcome, predict


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
        identity=identity, condition=condition, batch_size=4,
    )  # fmt: skip


def test_every_row_is_answered_in_order(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    assert run(data, out) == Outcome(answered=10, errors=0, kept=0)
    rows = read(out)
    assert [row["id"] for row in rows] == [example.id for example in data]
    assert rows[2]["prediction"] == "(0, 255, 0) of (4, 5)"
    assert rows[2]["probability"] == 0.5 and rows[2]["finish"] == "stop"


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_interrupted_and_resumed_gives_the_same_file(
    data: list[Example], tmp_path: Path, batches: int
) -> None:
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    run(data, whole)
    with pytest.raises(KeyboardInterrupt):
        run(data, parts, Colors(until=batches))
    assert len(read(parts)) == 4 * batches  # what was answered is on the disk
    rest = Colors()
    assert run(data, parts, rest).kept == 4 * batches
    assert len(rest.batches) == 3 - batches
    assert parts.read_bytes() == whole.read_bytes()


def test_a_half_written_batch_is_planned_as_before(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    whole = out.read_text()
    lines = whole.splitlines(keepends=True)
    out.write_text("".join(lines[:5]) + lines[5][:20])  # killed in the middle of a line
    again = Colors()
    assert run(data, out, again) == Outcome(answered=5, errors=0, kept=5)
    assert again.batches[0] == [f"question {i}?" for i in range(4, 8)]
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


def test_progress_tells_what_is_done_of_all(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(data, out, Colors(until=2))
    told: list[tuple[int, int]] = []
    predict(
        Colors(), data, out, Settings(max_new_tokens=8),
        identity="m", batch_size=4, progress=lambda *now: told.append(now),
    )  # fmt: skip
    assert told == [(0, 10), (4, 10), (8, 10), (10, 10)]


def test_rows_of_one_picture_are_asked_together(data: list[Example], tmp_path: Path) -> None:
    """Their order in the file does not count, and they get the same object, hashed once."""
    seen: list[list[int]] = []

    class Looks(Colors):
        def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
            seen.append([id(request.messages[-1].images[0]) for request in requests])
            return super().answer(requests)

    answerer = Looks()
    run([*data[0::2], *data[1::2]], tmp_path / "p.jsonl", answerer)
    assert answerer.batches[0] == ["question 0?", "question 1?", "question 2?", "question 3?"]
    assert all(pair[0] == pair[1] for batch in seen for pair in (batch[:2], batch[2:]) if pair)


def test_what_has_changed_is_replaced_at_the_end(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    photo(tmp_path / "red.png", "yellow", (4, 4))
    photo(tmp_path / "black.png", "yellow", (4, 8))
    with pytest.raises(KeyboardInterrupt):
        run(data, out, Colors(until=1))  # the new rows 0 and 1 stand after all old ones
    assert [row["id"] for row in read(out)][-2:] == ["q0", "q1"] and len(read(out)) == 12
    assert run(data, out) == Outcome(answered=2, errors=0, kept=8)
    whole = tmp_path / "whole.jsonl"
    run(data, whole)
    assert sorted(out.read_text().splitlines()) == sorted(whole.read_text().splitlines())


def test_a_row_that_fails_anew_replaces_its_answer(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    (tmp_path / "red.png").write_bytes(b"no picture")
    again = Colors()
    assert run(data, out, again) == Outcome(answered=0, errors=2, kept=8)
    assert again.batches == []  # nothing of the batch is left to be asked
    assert {row["id"] for row in read(out) if "error" in row} == {"q0", "q1"}
    assert len(read(out)) == 10


def test_an_interrupted_file_never_mixes_two_models(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data[2:], out)
    with pytest.raises(KeyboardInterrupt):
        run(data, out, Colors(until=1), identity="other model")
    assert [row["id"] for row in read(out)] == ["q0", "q1", "q2", "q3"]


def test_many_pixels_are_asked_in_pieces(
    data: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.evaluation.work._PIXELS_AT_ONCE", 40)
    monkeypatch.setattr("vqa.evaluation.predict._PIXELS_AHEAD", 1)
    out, answerer = tmp_path / "p.jsonl", Colors()
    run(data, out, answerer)
    assert [len(batch) for batch in answerer.batches] == [4, 2, 2, 2]  # 16 + 20, 24, 28, 32
    whole = out.read_text().splitlines(keepends=True)
    for lost in range(10):
        out.write_text("".join(whole[:lost] + whole[lost + 1 :]))
        again = Colors()
        assert run(data, out, again).answered == 1
        assert again.batches == [next(b for b in answerer.batches if f"question {lost}?" in b)]
    assert sorted(out.read_text().splitlines(keepends=True)) == sorted(whole)


def test_an_answerer_that_is_gone_ends_the_run(data: list[Example], tmp_path: Path) -> None:
    class Gone(Colors):
        def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
            if self.batches:
                raise VQAError("no answer from http://here")
            return super().answer(requests)

    out = tmp_path / "p.jsonl"
    with pytest.raises(VQAError, match="no answer from"):
        run(data, out, Gone())
    assert len(read(out)) == 4
    assert run(data, out).kept == 4


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_cancelled_run_keeps_whole_answers_and_goes_on(
    data: list[Example], tmp_path: Path, batches: int
) -> None:
    class Cut(Colors):
        """Answers are cut off in the batch after `batches`."""

        def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
            assert cancel is stop
            if len(self.batches) == batches:
                stop.set()
                return [Answer("", "cancelled") for _ in requests]
            return super().answer(requests)

    stop, out = Event(), tmp_path / "p.jsonl"
    with pytest.raises(Cancelled, match="colors was stopped"):
        predict(Cut(), data, out, Settings(8), identity="m", batch_size=4, cancel=stop)
    assert len(read(out)) == 4 * batches
    with pytest.raises(Cancelled):  # before anything is asked
        predict(Colors(until=0), data, out, Settings(8), identity="m", batch_size=4, cancel=stop)
    whole = tmp_path / "whole.jsonl"
    run(data, whole)
    assert run(data, out).kept == 4 * batches
    assert out.read_text() == whole.read_text()


class Endpoint(Colors):
    """Fails on questions with some word; what fails alone is not told from an endpoint's end."""

    word = "fails"

    def answer_each(self, requests: Sequence[Request]) -> list[Answer | InputError]:
        texts = [request.messages[-1].text for request in requests]
        good = self.answer(
            [r for r, text in zip(requests, texts, strict=True) if not self.fails(text)]
        )
        if not good:
            raise VQAError("no answer from http://here")
        answers = iter(good)
        return [InputError("500") if self.fails(text) else next(answers) for text in texts]

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        return super().answer(requests) if requests else []

    def fails(self, text: str) -> bool:
        return self.word in text


def test_rows_on_which_an_endpoint_fails_never_stop_the_others(
    data: list[Example], tmp_path: Path
) -> None:
    for index in (0, 5, 8, 9):  # the last two are a batch of their own
        data[index] = Example(f"q{index}", data[index].images, f"fails {index}")
    out = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(data, out, Endpoint(until=1))
    for kept in (3, 6):
        assert run(data, out, Endpoint()) == Outcome(6 - kept, 4, kept)
    again = Endpoint()
    run(data, out, again)
    assert again.batches == [["question 1?"], ["question 4?"]]  # one each, to see whether it lives
    gone = Endpoint()
    gone.word = ""
    with pytest.raises(VQAError, match="no answer"):
        run(data, out, gone)
    assert sum("error" not in row for row in read(out)) == 6


def test_refused_rows_are_found_in_halves(data: list[Example], tmp_path: Path) -> None:
    data[5] = Example("q5", data[5].images, "forbidden")
    answerer = Colors()
    predict(answerer, data, tmp_path / "p.jsonl", Settings(), identity="m", batch_size=10)
    assert [row["id"] for row in read(tmp_path / "p.jsonl") if "error" in row] == ["q5"]
    assert [len(batch) for batch in answerer.batches] == [5, 1, 3]


def test_failed_rows_of_the_data_are_in_the_file(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    for _ in range(2):
        outcome = predict(
            Colors(), data, out, Settings(), identity="m", failed={7: "data:3: no question"}
        )
        rows = [row for row in read(out) if "error" in row]
        assert [(row["id"], row["error"]) for row in rows] == [(7, "data:3: no question")]
        assert len(read(out)) == 11
    assert outcome == Outcome(answered=0, errors=1, kept=10)


class Scores(Colors):
    """Likes long texts."""

    def choose(
        self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        assert len(requests) == len(choices)
        return [[math.log(len(text)) - 50 for text in texts] for texts in choices]


def test_choices_are_scored(data: list[Example], tmp_path: Path) -> None:
    texts: list[Any] = [["cat", "c"], ["a", "bb", "ccccc"], [], "yes", ["a", "a"], [1], ["x", " "]]
    rows = [
        Example(i, data[i].images, "What?", (), {"choices": choices})
        for i, choices in enumerate(texts)
    ] + [data[9]]
    out = tmp_path / "p.jsonl"
    go = {"identity": "m", "choices": True, "batch_size": 4}
    assert predict(Scores(), rows, out, Settings(), **go) == Outcome(2, 6, 0)  # type: ignore[arg-type]
    first, second, *others = read(out)
    assert first["prediction"] == "cat" and first["probability"] == pytest.approx(3 / 4)
    assert [c["text"] for c in second["choices"]] == ["a", "bb", "ccccc"]
    assert [c["probability"] for c in second["choices"]] == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    assert all("column choices" in row["error"] for row in others)
    rows[0].extra["choices"] = ["dog", "c"]
    assert predict(Scores(), rows, out, Settings(), **go).kept == 1  # type: ignore[arg-type]
    assert {row["id"]: row.get("prediction") for row in read(out)}[0] == "dog"


def test_the_run_is_described(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    about = {"model": "m", "backend": "local", "data": {"file": "d"}, "settings": {"dtype": "f"}}
    predict(Colors(), data, out, Settings(9), identity="m", condition="blind", about=about)
    found = json.loads((tmp_path / "p.jsonl.run.json").read_text())
    assert (
        found["settings"] | {"max_new_tokens": 9, "dtype": "f", "choices": False}
        == found["settings"]
    )
    assert found["model"] == "m" and found["adapter"] is None and found["backend"] == "local"
    assert found["condition"] == "blind" and found["rows"] == 10
    assert found["data"] == {"file": "d"} and found["vqa"]
