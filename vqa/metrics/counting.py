"""Counting: is the number right, and how far off is it?

`accuracy` is the share of rows whose number is one of the answers' numbers (as in TallyQA, Acharya
et al. 2019, there with one answer a row); `mean_absolute_error` the mean distance to the nearest of
them; `numbers` the share of predictions that have a number at all. A prediction without a number
is wrong and counts as a 0 for the error, so that silence does not lower it.

The number of a text is the first one in it, in digits (`2,000`, `2.5`, `-3`, `2 dozen`) or in
English words (`twenty-one`, `two hundred`, `a dozen`). `none` is 0, and so are `no one` and, where
there is no other number, `no` before a word (`no dogs`); a bare `no` is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from vqa.errors import InputError
from vqa.metrics.metric import Array, Item, Metric, ratio

_SMALL = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_ROUND = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {"none": 0} | {word: value for value, word in enumerate(_SMALL.split())}
_TENS = {word: 10 * value for value, word in enumerate(_ROUND.split(), start=2)}
_TIMES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 1_000_000}
_ANY = "|".join([*_UNITS, *_TENS, *_TIMES])
_NUMBER = re.compile(
    r"(?P<digits>(?<![\w.])-?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+))"
    rf"(?P<times>(?:[\s-]+(?:{'|'.join(_TIMES)})\b)*)"
    r"|\b(?P<nobody>no[ -]one)\b"
    rf"|\b(?P<words>(?:{_ANY})(?:(?:\s+and\s+|[\s-]+)(?:{_ANY}))*)\b",
    re.ASCII,
)
_NO_THINGS = re.compile(r"\bno\s+\w")


def number(text: str) -> float | None:
    """Read the first number in the text; None if there is none.

    >>> number("There are twenty-one dogs.")
    21.0
    """
    text = text.lower()
    match = _NUMBER.search(text)
    if match is None:
        return 0.0 if _NO_THINGS.search(text) else None
    if match["digits"]:
        value = float(match["digits"].replace(",", ""))
        for word in re.findall(r"\w+", match["times"]):
            value *= _TIMES[word]
        return value if math.isfinite(value) else None
    return 0.0 if match["nobody"] else float(_of_words(match["words"]))


def _of_words(text: str) -> int:
    total, part = 0, 0
    before = ""
    for word in re.split(r"\s+and\s+|[\s-]+", text):
        if word in _TIMES:
            part = max(part, 1) * _TIMES[word]
            if _TIMES[word] >= 1000:
                total, part = total + part, 0
        elif not before or before in _TIMES or (before in _TENS and 0 < _UNITS.get(word, 99) < 10):
            part += _UNITS[word] if word in _UNITS else _TENS[word]
        else:  # "two three": another number begins
            break
        before = word
    return total + part


def expected(item: Item) -> list[float]:
    """Read the numbers of the answers. Raises InputError where none of them has one."""
    numbers = [value for value in map(number, item.answers) if value is not None]
    if not numbers:
        raise InputError(
            f"counting: no answer to {item.question!r} is a number "
            f"({', '.join(map(repr, item.answers)) or 'there is none'})"
        )
    return numbers


def counting(item: Item) -> tuple[float, float, float]:
    """Return whether the number is right, its distance, and whether there is one (1 or 0)."""
    predicted, accepted = number(item.prediction), expected(item)
    error = min(abs((predicted or 0.0) - value) for value in accepted)
    return float(predicted in accepted), error, float(predicted is not None)


def _statistics(items: Sequence[Item]) -> Array:
    rows = [[*counting(item), 1.0] for item in items]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)  # [R, 4]: right, error, numbers, rows


def _values(sums: Array) -> dict[str, Array]:
    rows = sums[..., 3]
    return {
        "accuracy": ratio(sums[..., 0], rows),
        "mean_absolute_error": ratio(sums[..., 1], rows),
        "numbers": ratio(sums[..., 2], rows),
    }


def _rows(items: Sequence[Item]) -> Array:
    return np.array([counting(item)[0] for item in items], dtype=np.float64)  # [R]


def explain(item: Item) -> list[str]:
    """Explain how the row came to its score, a line a step."""
    predicted = number(item.prediction)
    right, error, _ = counting(item)
    return [
        f"prediction {item.prediction!r} "
        + ("has no number: wrong, 0 for the error" if predicted is None else f"is {predicted:g}"),
        "answers are " + ", ".join(f"{value:g}" for value in dict.fromkeys(expected(item))),
        f"correct: {right:g}; error: {error:g}",
    ]


PROFILES = {
    "official": Metric("counting", _statistics, _values, _rows, explain, main="accuracy"),
}
