"""`vqa ask --min-confidence`: an answer that is not probable enough is "not sure"."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

import pytest

from tests.cli.run import refused, vqa_here
from vqa import loading
from vqa.answering import Answer, Request
from vqa.cli.options import is_sure

Capture = pytest.CaptureFixture[str]


class Doubter:
    """Says `a cat`, with the probability it was given."""

    name = "doubter"

    def __init__(self, probability: float | None) -> None:
        self.probability = probability

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        return [Answer("a cat", "stop", self.probability) for _ in requests]

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        yield "a "
        yield "cat"
        yield Answer("a cat", "stop", self.probability)


@pytest.fixture
def probability(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> float | None:
    given: float | None = request.param
    monkeypatch.setattr(loading, "load", lambda *_: Doubter(given))
    return given


@pytest.mark.parametrize(
    ("probability", "least", "text"),
    [
        (0.4, "0.5", "not sure"),
        (0.5, "0.5", "a cat"),
        (0.4, None, "a cat"),
        (None, "0.5", "a cat"),
    ],
    indirect=["probability"],
)
def test_not_sure(
    probability: float | None, least: str | None, text: str, examples: Path, capfd: Capture
) -> None:
    ask = ["ask", examples / "cat.jpg", "What is it?"]
    ask += ["--min-confidence", least] if least else []
    result = vqa_here(capfd, *ask)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{text}\n", "")
    output = json.loads(vqa_here(capfd, *ask, "--json").stdout)
    assert (output["answer"], output["probability"]) == ("a cat", probability)
    assert output.get("sure") == (text == "a cat" if least else None)


def test_a_probability_is_from_0_to_1(examples: Path, capfd: Capture) -> None:
    ask = ("ask", examples / "cat.jpg", "What?", "--min-confidence")
    for wrong in ("1.5", "-0.1", "much"):
        assert "--min-confidence" in refused(vqa_here(capfd, *ask, wrong))
    assert is_sure(Answer("x", "stop", 0.2), None)
