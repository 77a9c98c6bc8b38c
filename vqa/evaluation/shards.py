"""Shards of a prediction run: `i/n`, files beside the output, and merging them."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from vqa.data.identity import sha256
from vqa.errors import InputError, VQAError
from vqa.evaluation.prediction_store import keep_valid, read_stored, run_part
from vqa.evaluation.predictions import RowId
from vqa.evaluation.run_description import description_path
from vqa.utils.console import first_few
from vqa.utils.files import atomic_write, lock, write_jsonl
from vqa.utils.json_files import read_object


def parse_shard(text: str) -> tuple[int, int]:
    """Read `i/n`, counted from 1. Raises InputError."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise InputError(f"`shard` {text}: give i/n, the first of four is 1/4 and the last 4/4")
    return number, count


def shard_path(out: Path, number: int, count: int) -> Path:
    """Return where one of several processes writes its part of `out`."""
    return Path(f"{out}.shard-{number}-of-{count}")


def merge_leftover_parts(out: Path, run: str) -> None:
    """Merge into `out` what several interrupted processes have left beside it.

    Only rows of this `run` (`run_fingerprint`), or `out` would mix two.
    """
    parts = _parts(out)
    if parts:
        with lock(out):
            # what stands later counts: a part is newer than the whole that it was begun from
            others = [out, *parts[:-1]]
            keep_valid(parts[-1], others, lambda row: run_part(row["fingerprint"]) == run)
            parts[-1].replace(out)
        remove_parts(out)


def remove_parts(out: Path) -> None:
    """Remove the processes' files beside `out`."""
    for part in _parts(out):
        part.unlink(missing_ok=True)
        description_path(part).unlink(missing_ok=True)
        (part.parent / f".{part.name}.lock").unlink(missing_ok=True)


def merge(
    shards: Sequence[Path], out: str | PathLike[str], ids: Iterable[RowId], data: Path | None = None
) -> tuple[int, int]:
    """Write the rows of all `shards` to `out`, in the order of `ids`; return rows and errors.

    Atomic: `out` is there, whole, or as it was. `data` is the file that `ids` come from: the
    shards' descriptions (`.run.json`) must name the same. Raises InputError for rows of different
    runs (model, settings, condition), for an id that comes twice or that is not of the data, and
    VQAError where a row is missing.
    """
    out = Path(out)
    lines: dict[RowId, str] = {}  # as text, which takes less memory than the objects
    errors = 0
    first: tuple[Path, str] | None = None
    places = dict.fromkeys(ids)
    for path in shards:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        for number, row in read_stored(path):
            run = run_part(row["fingerprint"])
            first = first or (path, run)
            if run != first[1]:
                raise InputError(
                    f"{path}:{number}: of another run than {first[0]} (model, settings or "
                    "condition): predict all shards with the same options"
                )
            key = row["id"]
            if key in lines:
                raise InputError(f"{path}:{number}: the id {key!r} is there twice")
            if key not in places:
                raise InputError(f"{path}:{number}: the data has no row with the id {key!r}")
            lines[key] = json.dumps(row)
            errors += "error" in row
    missing = [key for key in places if key not in lines]
    if missing:
        raise VQAError(
            f"{len(missing)} rows are in no shard (id {first_few(missing)}): predict all shards to "
            "their end"
        )
    description = _shared_description(shards, data)
    with lock(out):
        if out.is_file():
            deque(read_stored(out), maxlen=0)  # raises for a file that is something else
        write_jsonl(out, (json.loads(lines[key]) for key in places))
        if description is not None:
            with atomic_write(description_path(out)) as file:
                description["rows"] = len(places)
                file.write(json.dumps(description, ensure_ascii=False, indent=2) + "\n")
    return len(places), errors


def _parts(out: Path) -> list[Path]:
    name = re.compile(re.escape(out.name) + r"\.shard-[0-9]+-of-[0-9]+")
    folder = out.parent
    return sorted(p for p in folder.glob("*") if name.fullmatch(p.name)) if folder.is_dir() else []


def _shared_description(shards: Sequence[Path], data: Path | None) -> dict[str, Any] | None:
    """Read the first shard's description; those of all must be of the same data."""
    first: dict[str, Any] | None = None
    expected = sha256(data) if data is not None else None
    for path in shards:
        file = description_path(path)
        if not file.exists():
            continue
        try:
            description = read_object(file)
        except InputError as error:
            raise InputError(f"{error}; remove it") from error
        described = description.get("data")
        sha = described.get("sha256", expected) if isinstance(described, dict) else expected
        if expected is not None and sha != expected:
            raise InputError(
                f"{data} has changed since {path} was predicted: run that command again, it "
                "answers only what has changed"
            )
        first = first or description
    return first
