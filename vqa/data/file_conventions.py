"""How a file writes what may be written in several ways, inferred from its first rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vqa.data.cell_values import time_of_milliseconds
from vqa.data.choices import ChoiceConventions, Meanings
from vqa.data.example import Columns
from vqa.data.published_columns import answers_about_choices

_FIRST_DAY, _LAST_DAY = 10**11, 4_102_444_800_000  # milliseconds from 1970 to 1973 and to 2100
_SECOND = 1000
_ROUND = 10**8  # an amount of money may be a multiple of it; of dates one in a hundred days
_ANSWERS = ("answer", "answers")


@dataclass(frozen=True)
class TimesAsAnswers:
    """The numbers of a file that become times where they are answers, and the first of them."""

    number: int | float
    time: str

    def line_about(self, path: Path) -> str:
        """One line for people."""
        return (
            f"{path}: answers that are numbers of milliseconds become times, as pandas writes them "
            f"to JSON, first {self.number} as {self.time!r}; where they are amounts, write them as "
            "texts"
        )


@dataclass(frozen=True)
class NumbersOfChoices:
    """The first answer of a file that is the number of a choice, where no first row's is 0.

    So the file may count its choices from 1; they are read as counted from 0.
    """

    number: str
    text: str  # of the choice

    @classmethod
    def of(cls, answers: Iterable[Meanings], preferred: bool) -> NumbersOfChoices | None:
        """Return the first of such answers; `preferred` are numbers that are some choice's text."""
        numbers = [
            meant for meant in answers
            if meant.pointer == "number" and meant.pointed is not None
            and (preferred or meant.named is None)
        ]  # fmt: skip
        if not numbers or not all(meant.pointed for meant in numbers):
            return None
        return cls(numbers[0].answer, numbers[0].pointed_text)

    def line_about(self, path: Path) -> str:
        """One line for people."""
        return (
            f"{path}: answers that are numbers are those of choices counted from 0, first "
            f"{self.number} as {self.text!r}; where the first choice has number 1, write the texts "
            "of choices as answers"
        )


@dataclass(frozen=True)
class FileConventions:
    """Conventions of a file, which no row tells alone."""

    # what answers mean where there are choices
    choices: ChoiceConventions = field(default_factory=ChoiceConventions)
    times: frozenset[str] = frozenset()  # columns of times as milliseconds after 1970
    times_as_answers: TimesAsAnswers | None = None
    numbers_of_choices: NumbersOfChoices | None = None

    @classmethod
    def infer(cls, rows: Iterable[Columns]) -> FileConventions:
        """Infer the conventions of a file with these first rows.

        pandas writes times into JSON as numbers. A column holds times where all numbers in it are
        whole seconds between 1973 and 2100 and are not all as round as amounts of money.
        """
        about_choices: list[Meanings] = []
        numbers: dict[str, list[float]] = {}
        other: set[str] = set()  # columns with numbers that are no times
        for row in rows:
            about_choices += answers_about_choices(row)
            for name, value in row.items():
                if isinstance(value, bool) or not isinstance(value, int | float):
                    continue
                if _FIRST_DAY <= value <= _LAST_DAY and value % _SECOND == 0:
                    numbers.setdefault(name, []).append(value)
                elif value == value:
                    other.add(name)
        times = {
            name
            for name, values in numbers.items()
            if name not in other
            and not name.lower().endswith("id")
            and any(value % _ROUND for value in values)
        }
        first = next((numbers[name][0] for name in _ANSWERS if name in times), None)
        answers = None if first is None else TimesAsAnswers(first, time_of_milliseconds(first))
        choices = ChoiceConventions.infer(about_choices)
        numbers_of_choices = NumbersOfChoices.of(about_choices, choices.numbers)
        return cls(choices, frozenset(times), answers, numbers_of_choices)

    def with_times(self, row: Columns) -> Columns:
        """Write the times of a row as text."""
        if not self.times:
            return row
        return row | {
            name: time_of_milliseconds(row[name])
            for name in self.times & row.keys()
            if isinstance(row[name], int | float) and _FIRST_DAY <= row[name] <= _LAST_DAY
        }
