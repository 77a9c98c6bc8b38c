"""POPE (Li et al. 2023): yes or no, is the object there?

Official source: `evaluate.py` of AoiDragon/POPE. Of a prediction only the first sentence (up to the
first period) counts; commas are removed, it is split at spaces, and it is a no if `No`, `no` or
`not` is among the words, otherwise a yes: `yes, there is.` is one, and so is `NO` or `no!`. Yes is
the positive class; `yes_rate` is the share of predictions that say yes.

One difference: an empty prediction would be a yes there. Here it says neither: it is wrong, it
lowers recall where yes was right, and it is not in the yes rate.

Profiles:

- `lmms-eval` (0.7.3: `lmms_eval/tasks/pope/utils.py`): only exactly `yes` or `no`, case and spaces
  at the ends aside, is understood. What is neither is wrong, but does not lower recall. `yes_rate`
  is the share of rows whose *answer* is yes, as that file computes it.
- `vlmevalkit` (VLMEvalKit as packaged in ms-vlmeval 0.0.20: `vlmeval/dataset/utils/yorn.py`): yes
  if the word `yes` is there and `no` is not, the other way round for no, after the punctuation
  rules of VQA. What is neither is wrong; its judge by language model is not here, and its report
  has no yes rate.

A row's answers must be yes or no. Values whose denominator is 0 are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from vqa.errors import InputError
from vqa.metrics.metric import NO_PREDICTION, Array, Item, Metric, ratio
from vqa.metrics.vqa_accuracy import steps

_TP, _FP, _TN, _FN, _SILENT_YES, _SILENT_NO = range(6)  # columns; silent: neither yes nor no
_NAMES = (
    "a true yes",
    "a false yes",
    "a true no",
    "a false no",
    "neither yes nor no, where yes is right",
    "neither yes nor no, where no is right",
)


def official(text: str) -> bool | None:
    """Return whether a prediction says yes, after the official rules; None for an empty one."""
    if not text.strip():
        return None
    words = text.split(".")[0].replace(",", "").split(" ")
    return not {"No", "no", "not"} & set(words)


def exactly(text: str) -> bool | None:
    """Return whether a prediction is exactly yes (lmms-eval); None if it is neither yes nor no."""
    return {"yes": True, "no": False}.get(text.strip().lower())


def either_word(text: str) -> bool | None:
    """Return whether the word yes is there and no is not (vlmevalkit); None for both or neither."""
    marks_gone = dict(steps(text.lower(), "vlmevalkit"))["periods"]
    words = {"yes", "no"} & set(marks_gone.split())
    return "yes" in words if len(words) == 1 else None


_READERS: dict[str, Callable[[str], bool | None]] = {
    "official": official,
    "lmms-eval": exactly,
    "vlmevalkit": either_word,
}


def expected(item: Item) -> bool:
    """Return whether yes is right. Raises InputError where the answers do not say so."""
    answers = {answer.strip().lower().rstrip(".") for answer in item.answers}
    if len(answers) != 1 or not answers <= {"yes", "no"}:
        raise InputError(
            f"pope: the answer to {item.question!r} is {', '.join(map(repr, item.answers))}; "
            "this metric needs yes or no in every row"
        )
    return answers == {"yes"}


def kind(item: Item, profile: str = "official") -> int:
    """Return the column of the row: true yes, false yes, true no, false no, or neither."""
    predicted, right = _READERS[profile](item.prediction), expected(item)
    if predicted is None:
        return _SILENT_YES if right else _SILENT_NO
    if predicted:
        return _TP if right else _FP
    return _FN if right else _TN


def _statistics(items: Sequence[Item], profile: str) -> Array:
    return np.eye(6)[[kind(item, profile) for item in items]].reshape(-1, 6)  # [R, 6]


def _values(sums: Array, profile: str) -> dict[str, Array]:
    tp, fp, tn, fn, silent_yes, silent_no = np.moveaxis(np.asarray(sums, dtype=float), -1, 0)
    rows = tp + fp + tn + fn + silent_yes + silent_no
    precision = ratio(tp, tp + fp)
    recall = ratio(tp, tp + fn + (0 if profile == "lmms-eval" else silent_yes))
    says_yes = tp + fn + silent_yes if profile == "lmms-eval" else tp + fp
    return {
        "accuracy": ratio(tp + tn, rows),
        "precision": precision,
        "recall": recall,
        "f1": ratio(2 * precision * recall, precision + recall),
        "yes_rate": ratio(says_yes, rows),
    }


def _rows(items: Sequence[Item], profile: str) -> Array:
    return np.array([kind(item, profile) in (_TP, _TN) for item in items], dtype=float)  # [R]


def explain(item: Item, profile: str = "official") -> list[str]:
    """Explain how the row came to its score, a line a step."""
    predicted, right = _READERS[profile](item.prediction), expected(item)
    outcome = kind(item, profile)
    reading = NO_PREDICTION
    if item.prediction.strip():
        word = {True: "yes", False: "no", None: "neither yes nor no"}[predicted]
        reading = f"prediction {item.prediction!r} is read as {word} (profile {profile})"
    return [
        reading,
        f"the answer is {'yes' if right else 'no'}: {_NAMES[outcome]}",
        f"correct: {int(outcome in (_TP, _TN))}",
    ]


def _metric(profile: str) -> Metric:
    return Metric(
        "pope",
        partial(_statistics, profile=profile),
        partial(_values, profile=profile),
        partial(_rows, profile=profile),
        partial(explain, profile=profile),
        main="accuracy",
    )


PROFILES = {profile: _metric(profile) for profile in _READERS}
