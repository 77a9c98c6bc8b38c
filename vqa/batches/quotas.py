"""Quotas of the owner of runs, and of the rows of a file of questions."""

from __future__ import annotations

from dataclasses import dataclass, field

from vqa.batches.unpack import ZipLimits
from vqa.data.example import Example
from vqa.data.formats.flat_json import to_row
from vqa.data.row_limits import remaining
from vqa.data.row_reader import BadRow
from vqa.errors import InputError


@dataclass(frozen=True)
class Limits:
    """What an owner may ask for. None: as much as there is."""

    rows: int | None = None  # of a run
    text: int | None = (
        None  # characters of all its rows together, a value by itself as `remaining` has it
    )
    runs: int | None = None  # on disk
    active: int | None = None  # that wait or are answered
    unpacked: ZipLimits = field(default_factory=ZipLimits)


class RowQuota:
    """Counts the rows and the text of a file against the limits, row by row."""

    def __init__(self, name: str, limits: Limits) -> None:
        """`name` is what messages call the file."""
        self._name = name
        self._limits = limits
        self._rows = 0
        self._text = limits.text

    def take(self, row: Example | BadRow) -> None:
        """Count a row. Raises InputError beyond the limits."""
        self._rows += 1
        if self._limits.rows is not None and self._rows > self._limits.rows:
            raise InputError(f"{self._name} has more than {self._limits.rows} rows: ask in parts.")
        if self._text is None or isinstance(row, BadRow):  # only its reason is stored
            return
        self._text = remaining(to_row(row), self._text)
        if self._text < 0:
            raise InputError(
                f"{self._name} has more than {self._limits.text:,} characters of text and values, "
                f"which line {row.line} passes: ask in parts."
            )
