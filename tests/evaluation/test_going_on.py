"""A run that goes on from what earlier ones have left in its file: reused, changed, removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from tests.evaluation.colors import Colors, photo, read, run
from vqa.answering import Answer, Request, SamplingParams
from vqa.data.example import EarlierTurn, Example
from vqa.errors import InputError
from vqa.evaluation.answer_rows import Cancelled
from vqa.evaluation.picture_conditions import OWN_PICTURE
from vqa.evaluation.predicting import PredictionCounts, predict, run_fingerprint
from vqa.evaluation.prediction_store import RUN_DIGITS
from vqa.utils import fingerprint


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
    assert run(data, parts, rest).reused == 4 * batches
    assert len(rest.batches) == 3 - batches
    assert parts.read_bytes() == whole.read_bytes()


def test_a_half_written_batch_is_planned_as_before(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    whole = out.read_text()
    lines = whole.splitlines(keepends=True)
    out.write_text("".join(lines[:5]) + lines[5][:20])  # killed in the middle of a line
    again = Colors()
    assert run(data, out, again) == PredictionCounts(answered=5, errors=0, reused=5)
    assert again.batches[0] == [f"question {i}?" for i in range(4, 8)]
    assert out.read_text() == whole


def test_only_what_has_changed_is_answered_again(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    data[0] = Example("q0", data[0].images, "another question?")
    photo(tmp_path / "blue.png", "yellow", (4, 6))  # the same file, other bytes: rows 4 and 5
    assert run(data, out) == PredictionCounts(answered=3, errors=0, reused=7)
    rows = {row["id"]: row for row in read(out)}
    assert len(rows) == len(read(out)) == 10
    assert rows["q4"]["prediction"] == "(255, 255, 0) of (4, 6)"
    assert run(data, out, identity="other model").reused == 0
    assert run(data, out, identity="other model", tokens=9).reused == 0
    assert run(data, out, identity="other model", tokens=9, condition="blind").reused == 0
    assert run(data, out, identity="other model", tokens=9, condition="blind").reused == 10


def test_a_picture_that_has_moved_in_its_text_is_asked_about_again(
    data: list[Example], tmp_path: Path
) -> None:
    out = tmp_path / "p.jsonl"
    earlier = (EarlierTurn("Is <image> red?", "no", 1),)
    rows = [
        *data[:2],
        replace(data[2], question="Is <image> as <image>?"),
        replace(data[3], images=data[3].images * 2, earlier=earlier),
    ]
    run(rows, out)
    before = read(out)
    placed = (replace(earlier[0], places=(3,)),)
    moved = [*rows[:2], replace(rows[2], places=(3,)), replace(rows[3], earlier=placed)]
    assert run(moved, out) == PredictionCounts(answered=2, errors=0, reused=2)
    changed = [a["fingerprint"] != b["fingerprint"] for a, b in zip(before, read(out), strict=True)]
    assert changed == [False, False, True, True]
    moved[2] = replace(rows[2], places=(13,))
    assert run(moved, out) == PredictionCounts(answered=1, errors=0, reused=3)


def test_rows_without_places_have_the_fingerprints_they_had(tmp_path: Path) -> None:
    picture = photo(tmp_path / "a.png", "red")
    plain = Example(1, (picture,), "What <image>?")
    earlier = (EarlierTurn("Who?", "me", 1),)
    talk = replace(plain, id=2, images=(picture,) * 2, earlier=earlier, system="Short.")
    out = tmp_path / "p.jsonl"
    run([plain, talk], out)
    shown = [fingerprint.of_file(picture)]
    turns = {"earlier": [["Who?", "me", 1]], "system": "Short."}
    expected = [[shown, "What <image>?"], [shown * 2, "What <image>?", turns]]
    assert [row["fingerprint"].split("-")[-1] for row in read(out)] == [
        fingerprint.of_json(content) for content in expected
    ]


def test_beams_are_part_of_what_a_prediction_depends_on() -> None:
    prints = {
        run_fingerprint(
            "m", OWN_PICTURE, SamplingParams(8, num_beams=beams, length_penalty=penalty)
        )
        for beams, penalty in ((1, 1.0), (2, 1.0), (3, 1.0), (3, 0.7), (1, 0.7))
    }
    assert len(prints) == 4  # one beam has no use for the penalty
    greedy = {"max_new_tokens": 8, "temperature": 0.0, "top_p": 1.0, "seed": 0}
    before = fingerprint.of_json(["m", OWN_PICTURE, greedy, False])  # beams came later
    assert run_fingerprint("m", OWN_PICTURE, SamplingParams(8)) == before[:RUN_DIGITS]


def test_rows_that_left_the_data_leave_the_file(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    assert run(data[:4], out).reused == 4
    assert [row["id"] for row in read(out)] == ["q0", "q1", "q2", "q3"]


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


def test_what_has_changed_is_replaced_at_the_end(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    photo(tmp_path / "red.png", "yellow", (4, 4))
    photo(tmp_path / "black.png", "yellow", (4, 8))
    with pytest.raises(KeyboardInterrupt):
        run(data, out, Colors(until=1))  # the new rows 0 and 1 stand after all old ones
    assert [row["id"] for row in read(out)][-2:] == ["q0", "q1"] and len(read(out)) == 12
    assert run(data, out) == PredictionCounts(answered=2, errors=0, reused=8)
    whole = tmp_path / "whole.jsonl"
    run(data, whole)
    assert sorted(out.read_text().splitlines()) == sorted(whole.read_text().splitlines())


def test_a_row_that_fails_anew_replaces_its_answer(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    (tmp_path / "red.png").write_bytes(b"no picture")
    again = Colors()
    assert run(data, out, again) == PredictionCounts(answered=0, errors=2, reused=8)
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
    monkeypatch.setattr("vqa.evaluation.batch_answering._PIXELS_AT_ONCE", 40)
    monkeypatch.setattr("vqa.evaluation.batch_answering._PIXELS_AHEAD", 1)
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
        predict(Cut(), data, out, SamplingParams(8), identity="m", batch_size=4, cancel=stop)
    assert len(read(out)) == 4 * batches
    with pytest.raises(Cancelled):  # before anything is asked
        predict(
            Colors(until=0), data, out, SamplingParams(8), identity="m", batch_size=4, cancel=stop
        )
    whole = tmp_path / "whole.jsonl"
    run(data, whole)
    assert run(data, out).reused == 4 * batches
    assert out.read_text() == whole.read_text()
