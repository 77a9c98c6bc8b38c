"""Multiple choice by CircularEval (MMBench, Liu et al. 2023): right in every order of the choices.

A question is asked once for each rotation of its choices, and is right where all of these answers
are. Rows of one question have an `index` that is the same but for millions, as MMBench numbers
them. `score` is the share of such questions, `accuracy` that of the rows by themselves.

What a prediction names is read as by `multiple_choice`, by the rules of the same profile; MMBench's
own are those of VLMEvalKit. Where these give no choice, VLMEvalKit and lmms-eval ask a language
model, and here the row is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from vqa.errors import InputError
from vqa.metrics import multiple_choice
from vqa.metrics.grouped import all_right, groups_of
from vqa.metrics.metric import Array, Item, Metric, ratio

_ROTATIONS = 10**6  # what the indices of two of them differ by


def question_groups(columns: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """List the rows of each question. Raises InputError where a row has no whole `index`."""
    keys = []
    for row in columns:
        try:
            keys.append(int(str(row["index"])) % _ROTATIONS)
        except (KeyError, ValueError):
            raise InputError(
                f"circular_choice: a row's index is {row.get('index')!r}; it needs a whole number"
            ) from None
    return groups_of(keys)


def _statistics(items: Sequence[Item], profile: str) -> Array:
    scores = _rows(items, profile)
    together = all_right(question_groups([item.extra for item in items]), scores)
    return np.column_stack([together, scores, np.ones_like(scores)])  # [R, 4]


def _values(sums: Array) -> dict[str, Array]:
    return {
        "score": ratio(sums[..., 0], sums[..., 1]),
        "accuracy": ratio(sums[..., 2], sums[..., 3]),
    }


def _rows(items: Sequence[Item], profile: str) -> Array:
    return np.array([multiple_choice.multiple_choice(item, profile) for item in items])  # [R]


def _explain(item: Item, profile: str) -> list[str]:
    lines = multiple_choice.explain(item, profile)
    return [*lines, "the question is right where the rows of all orders of its choices are"]


def _metric(profile: str) -> Metric:
    return Metric(
        "circular_choice",
        partial(_statistics, profile=profile),
        _values,
        partial(_rows, profile=profile),
        partial(_explain, profile=profile),
    )


PROFILES = {profile: _metric(profile) for profile in multiple_choice.PROFILES}
