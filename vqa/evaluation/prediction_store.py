"""Predictions of earlier runs: which of them are still valid, by their fingerprints.

The fingerprint of a prediction is `RUN-ROW`: RUN identifies the model, the settings and the
condition, ROW the pictures' bytes and the question. So rows of another run are recognised without
opening any picture, and rows of two runs are never taken for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vqa.errors import InputError
from vqa.evaluation.predictions import RowId
from vqa.utils.disk import reading
from vqa.utils.files import read_jsonl, write_jsonl

RUN_DIGITS = 12
_BEGINNING = b'{"id": '  # of each row that a run writes
_HEAD = 1 << 12  # bytes


class _Place(NamedTuple):
    file: int
    line: int
    fingerprint: str | None  # None where the row is not valid


def join_fingerprints(run: str, row: str) -> str:
    """Make the fingerprint of a prediction from those of its run and its row."""
    return f"{run}-{row}"


def run_part(fingerprint: str) -> str:
    """Return the part of a prediction's fingerprint that all rows of a run share."""
    return fingerprint.partition("-")[0]


def read_stored(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, row) of what `vqa predict` wrote. Raises InputError for anything else."""
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path} is not a file; the predictions need one that can be read again")
    foreign = "not written by `vqa predict`; name another file for `out`"
    head = _head(path)
    if head and not head.startswith(b"{"):
        raise InputError(f"{path}: {foreign}")
    number = 0
    for number, row in read_jsonl(path):
        key = row.get("id")
        is_id = isinstance(key, str | int) and not isinstance(key, bool)
        if not is_id or not isinstance(row.get("fingerprint"), str):
            raise InputError(f"{path}:{number}: {foreign}")
        yield number, row
    if not number and not (head.startswith(_BEGINNING) or _BEGINNING.startswith(head)):
        raise InputError(f"{path}: {foreign}")  # begins an object, but no row of a run


def _head(path: Path) -> bytes:
    with reading(path), path.open("rb") as file:
        return file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").strip()


def keep_valid(
    out: Path, sources: Sequence[Path], is_valid: Callable[[dict[str, Any]], bool]
) -> dict[RowId, str]:
    """Rewrite `out` to the last row of each id in `sources` and `out`, where it is valid.

    Returns the fingerprints by id. `out` is replaced at once, and only where anything changes. No
    more than ids and fingerprints are in memory. Raises InputError where a file holds something
    that `vqa predict` did not write.
    """
    files = [*sources, out]
    last: dict[RowId, _Place] = {}
    lines = 0  # of `out`
    for number, file in enumerate(files):
        for line, row in read_stored(file):
            current = row["fingerprint"] if is_valid(row) else None
            last[row["id"]] = _Place(number, line, current)
            lines += file is out
    valid = {key: place.fingerprint for key, place in last.items() if place.fingerprint is not None}
    in_out = sum(last[key].file == len(sources) for key in valid)
    if in_out != lines or in_out != len(valid):
        write_jsonl(out, _valid_rows(files, last))
    return valid


def _valid_rows(files: Sequence[Path], last: dict[RowId, _Place]) -> Iterator[dict[str, Any]]:
    for number, file in enumerate(files):
        for line, row in read_stored(file):
            place = last[row["id"]]
            if place.fingerprint is not None and (place.file, place.line) == (number, line):
                yield row
