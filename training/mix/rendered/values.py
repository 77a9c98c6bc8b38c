"""Dates, times, prices and numbers as they stand on receipts, labels and signs."""

from __future__ import annotations

from datetime import datetime, timedelta

from training.mix.rendered.held_out import Draw

_DATES = (
    "%d/%m/%Y", "%d-%m-%Y", "%d/%m/%Y", "%d/%m/%y", "%Y-%m-%d", "%d %b %Y", "%m/%d/%Y", "%b %d, %Y",
    "%d %B %Y", "%d.%m.%Y", "%Y/%m/%d",
)  # fmt: skip
_TIMES = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p")
_PHONES = (
    "0#-### ####", "(0##) ### ####", "+## ## ### ####", "###-###-####", "0##-#######",
    "0### ######", "+##-#-#######",
)  # fmt: skip
_EPOCH = datetime(2012, 1, 1)


def date_text(draw: Draw) -> str:
    """Write a day of some years."""
    return _moment(draw).strftime(draw.one(_DATES))


def clock_text(draw: Draw) -> str:
    """Write a time of the day."""
    return _moment(draw).strftime(draw.one(_TIMES))


def _moment(draw: Draw) -> datetime:
    return _EPOCH + timedelta(seconds=draw.rng.randrange(16 * 365 * 86_400))


def phone_number(draw: Draw) -> str:
    """Write a phone number of no particular country."""
    return filled(draw, draw.one(_PHONES))


def filled(draw: Draw, pattern: str) -> str:
    """Put a digit in the place of each `#`, and a capital letter in that of each `@`."""
    rng = draw.rng
    digits = (str(rng.randint(1, 9)) if c == "#" else c for c in pattern)
    return "".join(rng.choice("ABCDEFHKLMNPRSTUVX") if c == "@" else c for c in digits)


def price(draw: Draw) -> int:
    """Draw a price in cents; small ones are frequent."""
    cents = round(10 ** draw.rng.uniform(1.7, 4.4))
    return cents if draw.chance(0.5) else max(5, cents // 10 * 10)


def money(cents: int) -> str:
    """Write an amount.

    >>> money(1205)
    '12.05'
    """
    return f"{cents // 100}.{cents % 100:02}"
