"""Rows of the data that cannot be used: refused, all of them at once, or left out and counted."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from accelerate import PartialState

from vqa.data.row_reader import Notice
from vqa.errors import InputError
from vqa.utils import fingerprint

_LISTED = 10  # reasons
_NOTED = 1000  # lines of rows in `run.json`


@dataclass
class _Problem:
    line: int  # of the first row
    reason: str
    rows: int = 1


class FileProblems:
    """What is wrong with rows of one data file; a picture that several rows name comes once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines = array("I")  # of the rows that are of no use
        self.notices: list[Notice] = []
        self._rows: list[_Problem] = []
        self._pictures: dict[str, _Problem] = {}  # by path

    def add(self, line: int, reason: str) -> None:
        """Note that a row cannot be used."""
        self.lines.append(line)
        self._rows.append(_Problem(line, reason))

    def add_pictures(self, line: int, paths: Iterable[str], broken: Mapping[str, str]) -> bool:
        """Note a row if pictures of it are `broken`, reasons by path; return whether any is."""
        unusable = [path for path in dict.fromkeys(paths) if path in broken]
        for path in unusable:
            problem = self._pictures.setdefault(path, _Problem(line, broken[path], rows=0))
            problem.rows += 1
        if unusable:
            self.lines.append(line)
        return bool(unusable)

    def __len__(self) -> int:
        """Count the different things that are wrong."""
        return len(self._rows) + len(self._pictures)

    def lines_about(self) -> Iterable[str]:
        """Yield a line for each problem, in the order of the file."""
        problems = chain(self._rows, self._pictures.values())
        for problem in sorted(problems, key=lambda problem: problem.line):
            others = f" ({problem.rows} rows name it)" if problem.rows > 1 else ""
            yield f"{self.file}:{problem.line}: {problem.reason.removesuffix('.')}{others}"


@dataclass(frozen=True)
class SkippedRows:
    """The rows that a run goes without: of its data, and of its validation's own."""

    files: tuple[FileProblems, ...] = ()

    @property
    def rows(self) -> int:
        """Count them."""
        return sum(len(file.lines) for file in self.files)

    def described(self) -> dict[str, Any]:
        """Describe these rows for `run.json`."""
        lines = [sorted(file.lines) for file in self.files]
        return {
            "rows": self.rows,
            "lines": [numbers[:_NOTED] for numbers in lines],
            "reasons": _first(self.files)[0],
            "fingerprint": fingerprint.of_json(lines) if self.rows else None,
        }


def refuse_or_skip(files: Sequence[FileProblems], skip_bad: bool) -> SkippedRows:
    """Refuse rows that cannot be used, or with `skip_bad` leave them out and print which.

    Prints the notices about whole files (repeated ids), too. Raises InputError with all bad rows
    of all files.
    """
    skipped = SkippedRows(tuple(files))
    reasons, more = _first(files)
    rest = [f"and {more} more"] if more else []
    if skipped.rows and not skip_bad:
        raise InputError(
            f"{'; '.join([*reasons, *rest])}: {_bad_rows(skipped.rows)}; correct them, or leave "
            "them out with skip_bad=true"
        )
    if PartialState().is_main_process:
        for file in files:
            for notice in file.notices:
                _print(notice.line_about(file.file))
        if skipped.rows:
            _print(f"left out for skip_bad=true: {_bad_rows(skipped.rows)}")
            for line in (*reasons, *rest):
                _print(f"  {line}")
    return skipped


def refuse_none_left(file: FileProblems, rows: int) -> None:
    """Raise InputError where none of a file's rows is left to be used."""
    if not rows:
        reasons = "; ".join(islice(file.lines_about(), 3))
        raise InputError(f"{file.file}: no row of it can be used{reasons and f': {reasons}'}")


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], output: Path) -> None:
    """Raise InputError where a run would go on without other rows than it was begun without.

    A picture has been repaired since then, or has broken. `before` and `now` are what
    `SkippedRows.described` gives.
    """
    if before.get("fingerprint") == now.get("fingerprint"):
        return
    earlier, later = (
        {(part, line) for part, lines in enumerate(record.get("lines", ())) for line in lines}
        for record in (before, now)
    )
    names = ("data", "validation.data")
    changes = [
        f"{names[part]} line {line} {how}"
        for rows, how in ((earlier - later, "is good now"), (later - earlier, "is bad now"))
        for part, line in sorted(rows)
    ]
    listed = ", ".join(changes[:_LISTED]) + (", ..." if len(changes) > _LISTED else "")
    then, count = _bad_rows(before.get("rows", 0)), now.get("rows", 0)
    raise InputError(
        f"output={output} holds a run without {then}, and now there are {count} "
        f"({listed or 'others'}): bring the pictures back as they were then, or give another "
        "output="
    )


def _first(files: Sequence[FileProblems]) -> tuple[list[str], int]:
    """Return the first lines about what is wrong, and count the others."""
    lines = list(islice(chain(*(file.lines_about() for file in files)), _LISTED))
    return lines, sum(map(len, files)) - len(lines)


def _bad_rows(count: int) -> str:
    return "1 bad row" if count == 1 else f"{count} bad rows"


def _print(line: str) -> None:
    print(f"vqa: {' '.join(line.split())}", file=sys.stderr, flush=True)
