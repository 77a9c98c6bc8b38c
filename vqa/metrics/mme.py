"""MME (Fu et al. 2023): two questions a picture, one to be answered with yes and one with no.

Official source: `eval_tool/calculation.py` of the benchmark. A prediction is yes or no where it is
that word, or where its first four characters have `yes`, else `no`; case aside. A row has its
`category` and, in the column `pair`, what its picture is called. Values:

- `accuracy`: the share of rows that are right;
- `accuracy_plus`: the share of pictures of which both are;
- `perception` and `cognition`: for each of 10 and 4 categories 100 times the sum of both, added up:
  at most 2,000 and 800. Guesses reach 750 and 300.

A picture of which only one row is there has no `accuracy_plus`.

Profile `lmms-eval` (0.7.3: `lmms_eval/tasks/mme/utils.py`): the ends are stripped and periods
removed first, and of a single character `y` is yes and `n` no. An empty prediction is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from vqa.errors import InputError
from vqa.metrics.grouped import all_right, groups_of
from vqa.metrics.metric import NO_PREDICTION, Array, Item, Metric, ratio

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark",
    "artwork", "OCR",
)  # fmt: skip
COGNITION = (
    "commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning",
)  # fmt: skip
_CATEGORIES = PERCEPTION + COGNITION
_PAIR = 2  # rows


def official(text: str) -> str | None:
    """Return what a prediction says after the official rules: yes, no or None for neither."""
    start = text.lower()[:4]
    return next((word for word in ("yes", "no") if word in start), None)


def lmms_eval(text: str) -> str | None:
    """Return the same after the rules of lmms-eval."""
    text = text.lower().strip().replace(".", "")
    return official({"y": "yes", "n": "no"}.get(text, text))


_READERS: dict[str, Callable[[str], str | None]] = {"official": official, "lmms-eval": lmms_eval}


def expected(item: Item) -> str:
    """Return yes or no. Raises InputError where the answers do not say so."""
    answers = {answer.strip().lower().rstrip(".") for answer in item.answers}
    if len(answers) != 1 or not answers <= {"yes", "no"}:
        raise InputError(
            f"mme: the answer to {item.question!r} is {', '.join(map(repr, item.answers))}; "
            "this metric needs yes or no in every row"
        )
    return answers.pop()


def is_right(item: Item, profile: str = "official") -> bool:
    """Return whether the prediction says what is right."""
    return _READERS[profile](item.prediction) == expected(item)


def _category(item: Item) -> int:
    name = item.extra.get("category")
    if name not in _CATEGORIES:
        raise InputError(f"mme: the category {name!r} is none of {', '.join(_CATEGORIES)}")
    return _CATEGORIES.index(name)


def _statistics(items: Sequence[Item], profile: str) -> Array:
    """Sum in each category what is right, rows, pictures of which both are, pictures with both."""
    scores, places = _rows(items, profile), [_category(item) for item in items]
    pairs = groups_of([(place, str(item.extra.get("pair")))
                       for place, item in zip(places, items, strict=True)])  # fmt: skip
    for rows in pairs:
        if len(rows) > _PAIR:
            raise InputError(
                f"mme: {items[rows[0]].extra.get('pair')!r} has {len(rows)} rows: a picture has "
                "two questions, and its name in the column pair"
            )
    both = all_right([rows for rows in pairs if len(rows) == _PAIR], scores)  # [R, 2]
    statistics = np.zeros((len(items), len(_CATEGORIES), 4))
    numbers = np.arange(len(items))
    statistics[numbers, places] = np.column_stack([scores, np.ones_like(scores), both])
    return statistics.reshape(len(items), -1)  # [R, categories x 4]


def _values(sums: Array) -> dict[str, Array]:
    parts = sums.reshape(*sums.shape[:-1], len(_CATEGORIES), 4)
    points = 100 * (ratio(parts[..., 0], parts[..., 1]) + ratio(parts[..., 2], parts[..., 3]))
    right, rows, both, pairs = np.moveaxis(parts.sum(-2), -1, 0)
    return {
        "accuracy": ratio(right, rows),
        "accuracy_plus": ratio(both, pairs),
        "perception": points[..., : len(PERCEPTION)].sum(-1),
        "cognition": points[..., len(PERCEPTION) :].sum(-1),
    }


def _rows(items: Sequence[Item], profile: str) -> Array:
    return np.array([is_right(item, profile) for item in items], dtype=float)  # [R]


def explain(item: Item, profile: str = "official") -> list[str]:
    """Explain how the row came to its score, a line a step."""
    if not item.prediction.strip():
        return [NO_PREDICTION]
    word = _READERS[profile](item.prediction) or "neither yes nor no"
    return [
        f"prediction {item.prediction!r} is read as {word} (profile {profile})",
        f"the answer is {expected(item)}: {int(is_right(item, profile))}",
    ]


def _metric(profile: str) -> Metric:
    return Metric(
        "mme",
        partial(_statistics, profile=profile),
        _values,
        partial(_rows, profile=profile),
        partial(explain, profile=profile),
        main="accuracy",
    )


PROFILES = {profile: _metric(profile) for profile in _READERS}
