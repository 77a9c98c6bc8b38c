"""One run over rows: answers, conditions, failures, choices, and its description."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.evaluation.colors import Colors, photo, read, run
from vqa.answering import Answer, Request, SamplingParams
from vqa.data.example import Example
from vqa.errors import InputError, VQAError
from vqa.evaluation.picture_conditions import Condition
from vqa.evaluation.predicting import PredictionCounts, predict


def test_every_row_is_answered_in_order(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    assert run(data, out) == PredictionCounts(answered=10, errors=0, reused=0)
    rows = read(out)
    assert [row["id"] for row in rows] == [example.id for example in data]
    assert rows[2]["prediction"] == "(0, 255, 0) of (4, 5)"
    assert rows[2]["probability"] == 0.5 and rows[2]["finish"] == "stop"


@pytest.mark.parametrize("condition", ["blind", "swap"])
def test_other_pictures_stand_at_the_places_of_a_rows_own(
    tmp_path: Path, condition: Condition
) -> None:
    colors = ("red", "lime", "blue", "white")
    paths = [photo(tmp_path / f"{c}.png", c, (4, 4 + i)) for i, c in enumerate(colors)]
    rows = [
        Example(n, tuple(paths[2 * n : 2 * n + 2]), f"Is <image> {n} <image>?", places=(3, 13))
        for n in range(2)
    ]
    answerer = Colors()
    run(rows, tmp_path / "p.jsonl", answerer, condition)
    for row in answerer.asked:
        (message,) = row.messages
        number = int(message.text[11])
        assert message.places == (3, 13) and len(message.images) == 2
        shown = 1 - number if condition == "swap" else number
        assert [image.height for image in message.images] == [4 + 2 * shown, 5 + 2 * shown]


def test_broken_pictures_and_questions_become_error_rows(
    data: list[Example], tmp_path: Path
) -> None:
    (tmp_path / "lime.png").write_bytes(b"no picture")
    (tmp_path / "white.png").unlink()
    data[9] = Example("q9", data[9].images, "forbidden")
    out = tmp_path / "p.jsonl"
    assert run(data, out) == PredictionCounts(answered=5, errors=5, reused=0)
    rows = {row["id"]: row for row in read(out)}
    assert {key for key, row in rows.items() if "error" in row} == {"q2", "q3", "q6", "q7", "q9"}
    assert "white.png" in rows["q6"]["error"] and "prediction" not in rows["q6"]
    assert rows["q9"]["error"] == "this word is not answered"
    assert rows["q8"]["prediction"].startswith("(0, 0, 0)")  # it shared a batch with q9
    photo(tmp_path / "lime.png", "lime", (4, 5))
    photo(tmp_path / "white.png", "white", (4, 7))
    assert run(data, out) == PredictionCounts(
        answered=4, errors=1, reused=5
    )  # mended, and tried again
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
    with pytest.raises(InputError, match="`swap` needs different pictures"):
        run(data[:2], tmp_path / "q.jsonl", condition="swap")


def test_progress_tells_what_is_done_of_all(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(data, out, Colors(until=2))
    reports: list[tuple[int, int]] = []
    predict(
        Colors(), data, out, SamplingParams(max_new_tokens=8),
        identity="m", batch_size=4, progress=lambda *now: reports.append(now),
    )  # fmt: skip
    assert reports == [(0, 10), (4, 10), (8, 10), (10, 10)]


def test_rows_of_one_picture_are_asked_together(data: list[Example], tmp_path: Path) -> None:
    """Their order in the file does not count, and they get the same object, hashed once."""
    batches: list[list[int]] = []

    class Looks(Colors):
        def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
            batches.append([id(request.messages[-1].images[0]) for request in requests])
            return super().answer(requests)

    answerer = Looks()
    run([*data[0::2], *data[1::2]], tmp_path / "p.jsonl", answerer)
    assert answerer.batches[0] == ["question 0?", "question 1?", "question 2?", "question 3?"]
    assert all(pair[0] == pair[1] for batch in batches for pair in (batch[:2], batch[2:]) if pair)


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
    assert run(data, out).reused == 4


class Endpoint(Colors):
    """Fails on questions with some word; what fails alone looks like an endpoint's end."""

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
    for reused in (3, 6):
        assert run(data, out, Endpoint()) == PredictionCounts(6 - reused, 4, reused)
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
    predict(answerer, data, tmp_path / "p.jsonl", SamplingParams(), identity="m", batch_size=10)
    assert [row["id"] for row in read(tmp_path / "p.jsonl") if "error" in row] == ["q5"]
    assert [len(batch) for batch in answerer.batches] == [5, 1, 3]


def test_failed_rows_of_the_data_are_in_the_file(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    for _ in range(2):
        outcome = predict(
            Colors(), data, out, SamplingParams(), identity="m", failed={7: "data:3: no question"}
        )
        rows = [row for row in read(out) if "error" in row]
        assert [(row["id"], row["error"]) for row in rows] == [(7, "data:3: no question")]
        assert len(read(out)) == 11
    assert outcome == PredictionCounts(answered=0, errors=1, reused=10)


class Scores(Colors):
    """Likes long texts."""

    def score_choices(
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
    assert predict(Scores(), rows, out, SamplingParams(), **go) == PredictionCounts(2, 6, 0)  # type: ignore[arg-type]
    first, second, *others = read(out)
    assert first["prediction"] == "cat" and first["probability"] == pytest.approx(3 / 4)
    assert [c["text"] for c in second["choices"]] == ["a", "bb", "ccccc"]
    assert [c["probability"] for c in second["choices"]] == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    assert all("column choices" in row["error"] for row in others)
    rows[0].extra["choices"] = ["dog", "c"]
    assert predict(Scores(), rows, out, SamplingParams(), **go).reused == 1  # type: ignore[arg-type]
    assert {row["id"]: row.get("prediction") for row in read(out)}[0] == "dog"


def test_the_run_is_described(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    about = {"model": "m", "backend": "local", "data": {"file": "d"}, "settings": {"dtype": "f"}}
    predict(Colors(), data, out, SamplingParams(9), identity="m", condition="blind", about=about)
    description = json.loads((tmp_path / "p.jsonl.run.json").read_text())
    assert (
        description["settings"] | {"max_new_tokens": 9, "dtype": "f", "choices": False}
        == description["settings"]
    )
    assert (
        description["model"] == "m"
        and description["adapter"] is None
        and description["backend"] == "local"
    )
    assert description["condition"] == "blind" and description["rows"] == 10
    assert description["data"] == {"file": "d"} and description["vqa"]
