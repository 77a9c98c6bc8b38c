"""Metric values, differences and intervals as text, for tables and sentences."""

from __future__ import annotations

PLAIN = frozenset({"mean_absolute_error", "perception", "cognition"})  # values that are no share

BASELINES = {
    "commonest": "the commonest answer",
    "commonest_place": "the commonest choice's place",
    "question_only": "the question alone",
    "blind": "the model with a blank picture",
    "swap": "the model with another picture",
}


def format_value(name: str, value: float) -> str:
    """Write a metric's value of that name: `61.2 %`, or a plain number.

    >>> format_value("score", 0.6123), format_value("mean_absolute_error", 1.5)
    ('61.2 %', '1.500')
    """
    return f"{value:.3f}" if name in PLAIN else f"{100 * value:.1f} %"


def format_difference(name: str, value: float, sign: bool = False) -> str:
    """Write a difference of two values.

    >>> format_difference("score", 0.034, sign=True)
    '+3.4 points'
    """
    return f"{_number(name, value, sign)} {'' if name in PLAIN else 'points'}".rstrip()


def format_interval(name: str, interval: tuple[float, float] | None, sign: bool = False) -> str:
    """Write an interval as a cell of a table; empty where there is none.

    >>> format_interval("score", (0.1, 0.25))
    '10.0 to 25.0'
    """
    return " to ".join(_number(name, value, sign) for value in interval) if interval else ""


def interval_phrase(name: str, interval: tuple[float, float] | None, sign: bool = False) -> str:
    """Write an interval for a sentence.

    >>> interval_phrase("score", (0.1, 0.25))
    '95 %: 10.0 to 25.0'
    """
    text = format_interval(name, interval, sign)
    return f"95 %: {text}" if text else "too few pictures for an interval"


def _number(name: str, value: float, sign: bool) -> str:
    text = f"{value:+.3f}" if name in PLAIN else f"{100 * value:+.1f}"
    return text if sign else text.removeprefix("+")
