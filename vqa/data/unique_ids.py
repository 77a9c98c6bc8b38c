"""Ids that tell rows apart: where several rows have one, the second is `ID#2`, the third `ID#3`.

Data for training repeats ids (the same picture, another conversation). Answers are joined with
their rows by id, so every command calls the rows of a file alike: by the order of the file alone,
whatever is wrong with some of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vqa.data.key_numbers import KeyNumbers

Id = str | int
# Calls the given function with the place (from 0) and the own id of each row of the file.
OwnIds = Callable[[Callable[[int, Id], None]], None]


@dataclass(frozen=True)
class RepeatedIds:
    """The rows of a file whose id an earlier row has, and the first of them."""

    rows: int
    line: int
    id: Id
    unique: str  # what the first is called

    def line_about(self, path: Path) -> str:
        """One line for people."""
        count = f"{self.rows:,} rows repeat" if self.rows > 1 else "1 row repeats"
        are = "they are" if self.rows > 1 else "it is"
        others = " and so on" if self.rows > 1 else ""
        return (
            f"{path}: {count} the id of an earlier row, first {self.id!r} in line {self.line}: "
            f"{are} called {self.unique!r}{others}"
        )


class UniqueIds:
    """Gives the rows of a file, in their order, ids that tell them apart."""

    def __init__(self, own_ids: OwnIds, repeated: Callable[[RepeatedIds], None]) -> None:
        """`own_ids` is called at the first id that comes again, `repeated` after that."""
        self._own_ids = own_ids
        self._repeated = repeated
        self._complete = False  # whether the ids of all rows are in `_numbers`
        # Of each id in use, the number of its latest row; 0: that row is still to come.
        self._numbers = KeyNumbers()

    def unique_id(self, place: int, line: int, own: Id) -> Id:
        """Return the id of the row at `place`, which itself has `own`."""
        number = self._numbers.setdefault(own, 1)
        if number is None:
            return own
        if number == 0:
            self._numbers.put(own, 1)
            return own
        rows = 0
        if not self._complete:
            # no row that comes later may lose its own id to one that is made here
            rows = self._note_all(place)
        number += 1
        while self._numbers.get(f"{own}#{number}") is not None:
            number += 1
        unique = f"{own}#{number}"
        self._numbers.put(own, number)
        self._numbers.put(unique, 1)
        if rows:
            self._repeated(RepeatedIds(rows, line, own, unique))
        return unique

    def _note_all(self, place: int) -> int:
        """Note the ids of all rows; count those from `place` on that an earlier row has."""
        self._complete = True
        rows = 0

        def note(at: int, own: Id) -> None:
            nonlocal rows
            if at < place:  # noted already
                return
            rows += self._numbers.setdefault(own, 0) is not None

        self._own_ids(note)
        return max(rows, 1)
