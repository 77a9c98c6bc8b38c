"""Numbers and baselines in words: what `vqa score` and `vqa compare` say in a sentence."""

from __future__ import annotations

PLAIN = frozenset({"mean_absolute_error"})  # values that are no share

BASELINES = {
    "commonest": "the commonest answer",
    "question_only": "the question alone",
    "blind": "the model with a blank picture",
    "swap": "the model with another picture",
}


def amount(name: str, value: float) -> str:
    """A metric's value of that name: `61.2 %`, or a plain number.

    >>> amount("score", 0.6123), amount("mean_absolute_error", 1.5)
    ('61.2 %', '1.500')
    """
    return f"{value:.3f}" if name in PLAIN else f"{100 * value:.1f} %"


def points(name: str, value: float, sign: bool = False) -> str:
    """A difference of two values.

    >>> points("score", 0.034, sign=True)
    '+3.4 points'
    """
    return f"{_number(name, value, sign)} {'' if name in PLAIN else 'points'}".rstrip()


def interval(name: str, found: tuple[float, float] | None, sign: bool = False) -> str:
    """An interval as a cell of a table; nothing where there is none.

    >>> interval("score", (0.1, 0.25))
    '10.0 to 25.0'
    """
    return " to ".join(_number(name, value, sign) for value in found) if found else ""


def between(name: str, found: tuple[float, float] | None, sign: bool = False) -> str:
    """An interval in a sentence.

    >>> between("score", (0.1, 0.25))
    '95 %: 10.0 to 25.0'
    """
    shown = interval(name, found, sign)
    return f"95 %: {shown}" if shown else "too few pictures for an interval"


def _number(name: str, value: float, sign: bool) -> str:
    text = f"{value:+.3f}" if name in PLAIN else f"{100 * value:+.1f}"
    return text if sign else text.removeprefix("+")
