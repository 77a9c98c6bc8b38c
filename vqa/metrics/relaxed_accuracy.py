"""Relaxed accuracy (Methani et al. 2020, Masry et al. 2022), for ChartQA: numbers within 5 %.

Source: `relaxed_correctness` of google-research/pix2struct, which all published code follows. A
text that Python reads as a number is one; with a percent sign at its end it is a hundredth of it
(so `12%` is not 12). If both are numbers and the answer is not 0, they may differ by 5 % of the
answer. Otherwise the texts must be equal but for case. Thousands' commas, units and currencies make
a number a text. The best of the answers.

Profiles: `lmms-eval` (0.7.3: `lmms_eval/tasks/chartqa/utils.py`) is the same; `vlmevalkit`
(VLMEvalKit as packaged in ms-vlmeval 0.0.20: `vlmeval/dataset/utils/vqa_eval.py`; older ones took
the 5 % of the prediction) strips the prediction's ends first. An empty prediction scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from vqa.metrics.metric import NO_PREDICTION, Item, Metric, mean_metric

TOLERANCE = 0.05


def relaxed_accuracy(prediction: str, answers: Sequence[str], profile: str = "official") -> float:
    """Return 1.0 if the prediction is close enough to any of the answers, else 0.0."""
    if not prediction.strip():
        return 0.0
    text = prediction.strip() if profile == "vlmevalkit" else prediction
    return float(any(relaxed_equal(text, answer) for answer in answers))


def relaxed_equal(prediction: str, answer: str) -> bool:
    """Return whether the prediction is within 5 % of the answer, or the same text."""
    value, target = number(prediction), number(answer)
    if value is not None and target:
        return abs(value - target) / abs(target) <= TOLERANCE
    return prediction.lower() == answer.lower()


def number(text: str) -> float | None:
    """Read the number that the text is, percent as hundredths; None if it is none."""
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def explain(item: Item, profile: str = "official") -> list[str]:
    """Explain how the row came to its score, a line a step."""
    if not item.prediction.strip():
        return [NO_PREDICTION]
    prediction = item.prediction.strip() if profile == "vlmevalkit" else item.prediction
    value = number(prediction)
    lines = [f"prediction {prediction!r} is " + ("a text" if value is None else f"{value:g}")]
    for answer in dict.fromkeys(item.answers):
        target = number(answer)
        verdict = "correct" if relaxed_equal(prediction, answer) else "wrong"
        if value is not None and target:
            away = abs(value - target) / abs(target)
            lines.append(f"answer {answer!r} is {target:g}: {away:.2%} away, {verdict}")
        else:
            lines.append(f"answer {answer!r}: compared as texts, {verdict}")
    return [*lines, f"score: {relaxed_accuracy(item.prediction, item.answers, profile):g}"]


def _metric(profile: str) -> Metric:
    return mean_metric(
        "relaxed_accuracy",
        lambda item: relaxed_accuracy(item.prediction, item.answers, profile),
        partial(explain, profile=profile),
    )


PROFILES = {profile: _metric(profile) for profile in ("official", "lmms-eval", "vlmevalkit")}
