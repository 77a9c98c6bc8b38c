from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.small_metrics import error, right, share, yes_no
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.predictions import Prediction
from vqa.evaluation.run_description import check_condition, description_differences
from vqa.evaluation.scoring import guess_metric, score
from vqa.metrics import METRICS, get_metric


def rows(*answers: tuple[str, ...]) -> list[Example]:
    """A picture for each row."""
    return [Example(i, (f"{i}.png",), "What?", accepted) for i, accepted in enumerate(answers)]


def predicted(*texts: str) -> dict[str | int, Prediction]:
    return {i: Prediction(text) for i, text in enumerate(texts)}


def test_right_wrong_missing_and_failed() -> None:
    data = rows(("cat",), ("cat", "kitten"), ("dog",), ("cat",), ("bird",))
    predictions: dict[str | int, Prediction] = {
        **predicted("cat", "kitten", "cat"),
        3: Prediction(None, error="broken"),
        9: Prediction("cat"),
    }
    result = score(data, predictions, right, draws=100)
    assert result.values == {"score": pytest.approx(2 / 5)}
    assert result.rows == ((0, 1.0), (1, 1.0), (2, 0.0), (3, 0.0), (4, 0.0))
    assert (result.missing, result.errors, result.unknown) == ((4,), (3,), (9,))
    assert result.commonest_answer == "cat"
    assert result.baselines["commonest"] == {"score": pytest.approx(3 / 5)}
    # without their own picture: cat (3 of the other 4) for all
    assert result.baselines["question_only"] == {"score": pytest.approx(3 / 5)}
    assert result.calibration is None


def test_the_json_has_values_at_the_top_and_ids_keep_their_type() -> None:
    data = [Example("7", ("a.png",), "?", ("yes",)), Example(7, ("b.png",), "?", ("no",))]
    both = {"7": Prediction("yes"), 7: Prediction("yes")}
    result = score(data, both, yes_no, draws=100)
    parsed = json.loads(json.dumps(result.to_json(with_rows=True)))
    assert (parsed["accuracy"], parsed["precision"], parsed["yes_rate"]) == (0.5, 0.5, 1.0)
    assert parsed["rows"] == [{"id": "7", "score": 1.0}, {"id": 7, "score": 0.0}]
    assert set(parsed) == {
        "accuracy", "precision", "yes_rate", "metric", "count", "pictures", "missing", "errors",
        "unknown", "incomplete", "intervals", "baselines", "seeing", "calibration", "rows",
    }  # fmt: skip
    assert set(parsed["intervals"]) == {"accuracy", "precision", "yes_rate"}
    assert parsed["intervals"]["accuracy"] == [0.0, 1.0]
    assert parsed["baselines"]["commonest"] == {
        "answer": "yes", "accuracy": 0.5, "precision": 0.5, "yes_rate": 1.0
    }  # fmt: skip
    assert parsed["metric"] == "yes_no" and parsed["count"] == 2
    assert "rows" not in result.to_json()


def test_seeing_is_what_the_best_baseline_does_not_reach() -> None:
    words = ("cat", "dog", "cow", "hen")
    data = rows(*[(words[i % 4],) for i in range(80)])
    good = predicted(*[words[i % 4] if i % 10 else "?" for i in range(80)])  # 90 %
    weak = predicted(*[words[i % 4] if i % 2 else "cat" for i in range(80)])  # 75 %
    result = score(data, good, right, blind=weak, swap=predicted(*["cat"] * 80))
    assert result.baselines["blind"] == {"score": 0.75}
    assert result.baselines["swap"] == {"score": 0.25}
    assert (result.gain.baseline, result.gain.value) == ("blind", pytest.approx(0.15))
    assert result.gain.interval is not None
    low, high = result.gain.interval
    assert 0 < low < 0.15 < high
    # the two are drawn together: the interval is of the rows' differences
    differences = np.array([(i % 10 != 0) - float(i % 2 == 1 or i % 4 == 0) for i in range(80)])
    spread = 1.96 * differences.std() / np.sqrt(80)
    assert (low, high) == pytest.approx((0.15 - spread, 0.15 + spread), abs=0.02)
    assert result.gain.sentence.startswith("Seeing is worth 15.0 points (95 %: ")
    assert result.gain.sentence.endswith("the model with a blank picture reaches 75.0 %.")
    same = score(data, weak, right, blind=weak).gain
    assert same.value == 0 and "No seeing is shown" in same.sentence
    worse = score(data, weak, right, blind=good).gain
    assert worse.value == pytest.approx(-0.15)
    assert "Worse than without seeing" in worse.sentence and "15.0 points" in worse.sentence


def test_an_error_is_better_when_it_is_less() -> None:
    data = rows(*[(str(i % 5),) for i in range(40)])
    result = score(data, predicted(*[str(i % 5) for i in range(40)]), error)
    best = min(part["mean_absolute_error"] for part in result.baselines.values())
    assert result.values == {"mean_absolute_error": 0.0}
    assert result.gain.value == pytest.approx(best) and best > 0
    assert result.gain.interval is not None and result.gain.interval[0] > 0
    assert "points" not in result.gain.sentence and "%." not in result.gain.sentence


def test_one_picture_gives_no_interval() -> None:
    data = [Example(i, ("a.png",), "What?", ("cat",)) for i in range(5)]
    result = score(data, predicted(*["cat"] * 5), right)
    assert result.intervals == {} and result.gain.interval is None
    assert "Too few pictures" in result.gain.sentence


def test_slices_by_any_column() -> None:
    data = [
        Example(i, (f"{i // 2}.png",), "What?", ("cat",), {"task": ["a", "b"][i % 2], "n": i // 4})
        for i in range(8)
    ]
    data.append(Example(8, ("x.png",), "What?", ("cat",)))
    predictions = predicted(*["cat", "dog"] * 4, "cat")
    result = score(data, predictions, right, by="task", draws=100).slices
    assert {name: (part.count, part.value) for name, part in result.items()} == {
        "a": (4, 1.0), "b": (4, 0.0), "null": (1, 1.0)
    }  # fmt: skip
    assert result["a"].interval == (1.0, 1.0) and result["null"].interval is None
    assert set(score(data, predictions, right, by="n").slices) == {"0", "1", "null"}
    assert "slices" in score(data, predictions, right, by="n").to_json()
    with pytest.raises(InputError, match=r"no row has a column 'nothing'; there are task, n"):
        score(data, predictions, right, by="nothing")


def test_calibration_takes_answers_that_have_a_probability() -> None:
    data = rows(*[("cat",)] * 4)
    result = score(
        data,
        {0: Prediction("cat", 0.9), 1: Prediction("dog", 0.2), 2: Prediction("cat")},
        share,
        draws=100,
    ).calibration
    assert result is not None
    assert (result.count, result.mean_score, result.coverage) == (2, 0.5, 0.5)
    assert result.threshold == pytest.approx(0.55)


def test_predictions_of_other_data_are_refused() -> None:
    with pytest.raises(InputError, match="other data"):
        score(rows(("cat",)), {"x": Prediction("cat")}, right)
    with pytest.raises(InputError, match="other data"):
        score(rows(("cat",)), predicted("cat"), right, blind={"x": Prediction("cat")})
    with pytest.raises(InputError, match="no rows"):
        score([], {}, right)


def test_runs_tell_of_their_condition_model_and_data(tmp_path: Path) -> None:
    def run(name: str, **what: Any) -> Path:
        (tmp_path / f"{name}.run.json").write_text(json.dumps(what))
        return tmp_path / name

    data = {"file": "d.jsonl", "sha256": "aa"}
    base = run("own", model="m", adapter=None, condition="seen", data=data)
    blind = run("blind", model="m", condition="blind", data=data | {"file": "copy.jsonl"})
    other = run("other", model="n", condition="blind", data=data | {"sha256": "bb"})
    check_condition(blind, "blind")
    check_condition(tmp_path / "undescribed", "blind")
    with pytest.raises(InputError, match="own was predicted as 'seen', not as 'blind'"):
        check_condition(base, "blind")
    names = ("model", "adapter", "data")
    assert description_differences(base, blind, names) == []
    assert description_differences(base, tmp_path / "undescribed", names) == []
    first, second = description_differences(base, other, names)
    assert "another model" in first and "n against m" in first
    assert "another data" in second and "d.jsonl (bb) against d.jsonl (aa)" in second
    (tmp_path / "odd.run.json").write_text("[1")
    assert description_differences(base, tmp_path / "odd", names) == []


def answered(*answers: tuple[str, ...], **extra: object) -> list[Example]:
    return [Example(n, ("a.png",), "What?", texts, dict(extra)) for n, texts in enumerate(answers)]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ([], "exact_match"),
        (answered(("yes",), ("a cat",)), "exact_match"),
        (answered(("yes",) * 10, ("no",) * 10, ("red",)), "vqa_accuracy"),
        (answered(("A dog runs over green grass.",)), "rouge_l"),
        (answered(("A dog runs over green grass.",) * 5), "cider_d"),
        (answered(("B",), ("a cat",), choices=["a dog", "a cat"]), "multiple_choice"),
        (answered((), ("red",)), "exact_match"),
    ],
)
def test_the_metric_follows_from_the_answers(data: list[Example], name: str) -> None:
    assert guess_metric(data) == name
    assert name in METRICS


def test_letters_at_random_are_no_seeing() -> None:
    """Whose texts differ by row, so that no text is right in many rows."""
    random = np.random.default_rng(0)
    data = [
        Example(i, (f"{i}.png",), "Which?", (f"right {i}",), extra={"choices": choices})
        for i in range(300)
        for choices in [list(random.permutation([f"right {i}", *(f"wrong {i}{j}" for j in "abc")]))]
    ]
    guesses = {i: Prediction("ABCD"[random.integers(4)]) for i in range(300)}
    result = score(data, guesses, get_metric("multiple_choice"))
    assert result.baselines["commonest_place"]["score"] == pytest.approx(0.25, abs=0.06)
    assert result.baselines["commonest"]["score"] < 0.02
    assert result.gain.baseline == "commonest_place"
    assert result.gain.sentence.startswith("No seeing is shown")
    right = {i: Prediction(f"right {i}") for i in range(300)}
    assert score(data, right, get_metric("multiple_choice")).gain.value > 0.6
    by_letter = [
        replace(row, answers=("ABCD"[row.extra["choices"].index(row.answers[0])],)) for row in data
    ]
    again = score(by_letter, guesses, get_metric("multiple_choice"))
    assert again.baselines["commonest_place"] == result.baselines["commonest_place"]


def test_seeing_is_not_measured_beside_half_a_baseline() -> None:
    data = rows(*[(("cat", "dog")[i % 2],) for i in range(60)])
    good = predicted(*[("cat", "dog")[i % 2] if i % 5 else "cow" for i in range(60)])
    half = {key: one for key, one in good.items() if key < 20} | {30: Prediction(None, error="x")}
    whole = score(data, good, right, blind=good)
    assert whole.gain.baseline == "blind" and not whole.incomplete
    result = score(data, good, right, blind=half)
    assert result.incomplete == {"blind": 40}
    assert result.gain.baseline != "blind" and "blind" in result.baselines
    failed_too = {key: one for key, one in good.items() if key < 20}
    assert not score(data, failed_too, right, blind=failed_too).incomplete
