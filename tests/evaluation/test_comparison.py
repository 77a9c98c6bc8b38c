from __future__ import annotations

import json

import pytest

from tests.evaluation.small_metrics import error, right, share
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.comparison import compare
from vqa.evaluation.predictions import Prediction
from vqa.evaluation.statistics import mcnemar_p

ROWS = [Example(f"q{i}", (f"{i // 2}.png",), "What?", ("cat",)) for i in range(200)]


def correct(*wrong: range) -> dict[str | int, Prediction]:
    """Right answers but for these rows."""
    missed = {i for part in wrong for i in part}
    return {f"q{i}": Prediction("dog" if i in missed else "cat") for i in range(200)}


def test_better_worse_and_not_distinguishable() -> None:
    comparison = compare(
        ROWS,
        {
            "base": correct(range(50, 100)),
            "good": correct(range(50, 60), range(0, 2)),
            "same": correct(range(50, 99), range(2)),
            "bad": correct(range(40, 140)),
        },
        right,
    )
    good, same, bad = comparison.others
    assert (comparison.base, comparison.value, comparison.count, comparison.pictures) == (
        "base",
        0.75,
        200,
        100,
    )
    assert [o.verdict for o in comparison.others] == ["better", "not distinguishable", "worse"]
    assert good.value == pytest.approx(0.94)
    assert good.difference.value == pytest.approx(0.19)
    assert good.difference.interval is not None and good.difference.interval[0] > 0.1
    assert good.fixed == tuple(f"q{i}" for i in range(60, 100))
    assert good.broken == ("q0", "q1")
    assert good.mcnemar is not None
    assert (good.mcnemar.fixed, good.mcnemar.broken) == (40, 2)
    assert good.mcnemar.p == pytest.approx(mcnemar_p(40, 2))
    assert good.sentence.startswith("good is better than base (+19.0 points, 95 %: +")
    assert same.sentence.startswith("same and base are not distinguishable (-0.5 points, 95 %: ")
    assert same.difference.detectable is not None and "would show" in same.sentence
    assert "bad is worse than base (-25.0 points" in bad.sentence
    # Holm: the smallest of three counts three times, the largest once
    assert good.p_corrected == pytest.approx(3 * good.difference.p)
    assert same.p_corrected == same.difference.p


def test_shares_have_no_mcnemar_and_the_largest_change_comes_first() -> None:
    rows = [Example(i, (f"{i}.png",), "?", ("a", "a", "b")) for i in range(4)]
    base = {i: Prediction("x") for i in range(4)}
    comparison = compare(
        rows, {"base": base, "other": {0: Prediction("b"), 1: Prediction("a")}}, share
    ).others[0]
    assert comparison.mcnemar is None
    assert (comparison.fixed, comparison.broken) == ((1, 0), ())
    assert comparison.unanswered == 2
    assert comparison.verdict == "not distinguishable"  # of two pictures


def test_less_error_is_better() -> None:
    rows = [Example(i, (f"{i}.png",), "How many?", ("3",)) for i in range(30)]
    far, near = ({i: Prediction(text) for i in range(30)} for text in ("9", "4"))
    comparison = compare(rows, {"far": far, "near": near}, error).others[0]
    assert (comparison.verdict, comparison.difference.value) == ("better", -5.0)
    assert "near is better than far (-5.000, 95 %: -5.000 to -5.000, p = " in comparison.sentence


def test_the_json_layout() -> None:
    comparison = compare(ROWS, {"a": correct(), "b": correct(range(3))}, right, draws=200).to_json()
    parsed = json.loads(json.dumps(comparison))
    assert parsed["base"] == {"name": "a", "value": 1.0, "unanswered": 0}
    (other,) = parsed["comparisons"]
    assert set(other) == {
        "name", "value", "difference", "interval", "p", "p_corrected", "detectable", "verdict",
        "sentence", "mcnemar", "fixed", "broken", "unanswered",
    }  # fmt: skip
    assert other["broken"] == ["q0", "q1", "q2"] and other["fixed"] == []
    assert other["mcnemar"] == {"fixed": 0, "broken": 3, "p": pytest.approx(0.25)}
    assert other["verdict"] == "not distinguishable"


def test_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="two predictions files"):
        compare(ROWS, {"a": correct()}, right)
    with pytest.raises(InputError, match="other data"):
        compare(ROWS, {"a": correct(), "b": {"x": Prediction("cat")}}, right)
