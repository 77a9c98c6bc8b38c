"""Values of columns, so that a table gives the same rows whatever file it is written to.

- Text is trimmed, of white space of every kind and of byte order marks.
- Numbers are written as people write them: 2.0 is `2`, 0.1 + 0.2 is `0.3` (ten decimals, as many as
  pandas writes into JSON). Truth values are `True` and `False`.
- NaN, infinity, null and a text without a character are missing.
- A time is `2024-05-01 12:30:00` of UTC, without a fraction that is 0, and midnight the day alone:
  pandas writes it with `T` or without, with milliseconds or without, with `Z` or `+00:00`.

What type a value has, its file says: a text `2.0`, `nan` or `None` in JSON or Parquet is a text. In
CSV, which has no types, `vqa.data.formats.table` takes a cell for what a program would have written
so.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
from typing import Any, Final

from vqa.data.row_limits import TEXT

SCALAR: Final = (str, int, float)  # a tuple is tested faster than a union
_SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
_EDGES = _SPACES + "\ufeff\u200b\u2060"
_DECIMALS = 10
_SMALLEST = 1e-3  # below, decimals would leave few digits
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?")


def trim(text: str) -> str:
    """Take white space and byte order marks off the ends of a text."""
    return text.strip(_EDGES)


def to_text(value: str | float) -> str:
    """Write a text, number or truth value as a text."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        if value.is_integer():
            return str(int(value))
        return str(round(value, _DECIMALS) if abs(value) >= _SMALLEST else value)
    return str(value)


def normalize(value: Any) -> Any:
    """Bring a value to the form it has in every format; None where it is missing.

    Raises ValueError for a text that is too long.
    """
    if isinstance(value, str):
        check_text(value, "a text")
        text = trim(value)
        return time_text(text) if text[4:5] == "-" else text
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date):
        return time_text(value.isoformat())
    if isinstance(value, datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    if isinstance(value, list | tuple):
        return [normalize(item) for item in value]
    if isinstance(value, dict):
        return {name: normalize(item) for name, item in value.items()}
    return value


def check_text(text: str, name: str) -> None:
    """Raise ValueError for a text that is longer than any question or answer."""
    if len(text) > TEXT:
        raise ValueError(f"{name} has {len(text):,} characters; at most {TEXT:,} are read")


def time_text(text: str) -> str:
    """Write a point in time in one way; return any other text as it is."""
    match = _TIME.fullmatch(text)
    if match is None:
        return text
    day, clock, fraction, zone = match.groups()
    try:
        time = datetime.datetime.fromisoformat(f"{day}T{clock}{zone or ''}")
    except ValueError:
        return text
    if time.tzinfo is not None:
        try:
            time = time.astimezone(datetime.UTC).replace(tzinfo=None)
        except OverflowError:
            return text
    fraction = (fraction or "").rstrip("0")
    if fraction:
        return f"{time.isoformat(sep=' ')}.{fraction}"
    return time.isoformat(sep=" ") if time.time() != datetime.time() else time.date().isoformat()


def time_of_milliseconds(value: float) -> str:
    """Write the time of so many milliseconds after 1970, as pandas has times in JSON."""
    time = datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(milliseconds=value)
    return time_text(time.isoformat())
