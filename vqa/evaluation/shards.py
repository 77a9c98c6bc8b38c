"""Pieces of a prediction run: `i/n`, files beside the output, and the whole made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from vqa.data.identity import sha256
from vqa.errors import InputError, VQAError
from vqa.evaluation.predict import described_in
from vqa.evaluation.resume import Id, predictions, run_of, take_over
from vqa.files import atomic_write, lock, write_jsonl

_SHOWN = 5


def parse(text: str) -> tuple[int, int]:
    """Read `i/n`, counted from 1. Raises InputError."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise InputError(f"--shard {text}: give i/n, the first of four is 1/4 and the last 4/4")
    return number, count


def beside(out: Path, number: int, count: int) -> Path:
    """Where one of several processes writes its part of `out`."""
    return Path(f"{out}.shard-{number}-of-{count}")


def gather(out: Path, run: str) -> None:
    """Bring what several processes had left beside `out` when they were interrupted into it.

    Only rows of this `run` (`run_fingerprint`), or `out` would mix two.
    """
    left = _left(out)
    if left:
        with lock(out):
            # what stands later counts: a part is newer than the whole that it was begun from
            others = [out, *left[:-1]]
            take_over(left[-1], others, lambda row: run_of(row["fingerprint"]) == run)
            left[-1].replace(out)
        remove_parts(out)


def remove_parts(out: Path) -> None:
    """Remove the processes' files beside `out`."""
    for part in _left(out):
        part.unlink(missing_ok=True)
        described_in(part).unlink(missing_ok=True)
        (part.parent / f".{part.name}.lock").unlink(missing_ok=True)


def merge(
    shards: Sequence[Path], out: str | PathLike[str], ids: Iterable[Id], data: Path | None = None
) -> tuple[int, int]:
    """Write the rows of all `shards` to `out`, in the order of `ids`; returns rows and errors.

    Atomic: `out` is there, whole, or as it was. `data` is the file that `ids` come from: what the
    shards say of theirs (`.run.json`) must agree. Raises InputError for rows of different runs
    (model, settings, condition), for an id that comes twice or that is not of the data, and
    VQAError where a row is missing.
    """
    out = Path(out)
    lines: dict[Id, str] = {}  # as text, which takes less memory than the objects
    errors = 0
    first: tuple[Path, str] | None = None
    wanted = dict.fromkeys(ids)
    for path in shards:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        for number, row in predictions(path):
            run = run_of(row["fingerprint"])
            first = first or (path, run)
            if run != first[1]:
                raise InputError(
                    f"{path}:{number}: of another run than {first[0]} (model, settings or "
                    "condition): predict all shards with the same options"
                )
            key = row["id"]
            if key in lines:
                raise InputError(f"{path}:{number}: the id {key!r} is there twice")
            if key not in wanted:
                raise InputError(f"{path}:{number}: the data has no row with the id {key!r}")
            lines[key] = json.dumps(row)
            errors += "error" in row
    missing = [key for key in wanted if key not in lines]
    if missing:
        shown = ", ".join(map(repr, missing[:_SHOWN])) + (", ..." if missing[_SHOWN:] else "")
        raise VQAError(
            f"{len(missing)} rows are in no shard (id {shown}): predict all shards to their end"
        )
    described = _described(shards, data)
    with lock(out):
        write_jsonl(out, (json.loads(lines[key]) for key in wanted))
        if described is not None:
            with atomic_write(described_in(out)) as file:
                described["rows"] = len(wanted)
                file.write(json.dumps(described, ensure_ascii=False, indent=2) + "\n")
    return len(wanted), errors


def _left(out: Path) -> list[Path]:
    name = re.compile(re.escape(out.name) + r"\.shard-[0-9]+-of-[0-9]+")
    folder = out.parent
    return sorted(p for p in folder.glob("*") if name.fullmatch(p.name)) if folder.is_dir() else []


def _described(shards: Sequence[Path], data: Path | None) -> dict[str, Any] | None:
    """What the first shard's `.run.json` says; those of all must be of the same data."""
    first: dict[str, Any] | None = None
    now = sha256(data) if data is not None else None
    for path in shards:
        file = described_in(path)
        try:
            described = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be read: {error}; remove it") from error
        if not isinstance(described, dict):
            raise InputError(f"{file} does not describe a run; remove it")
        of = described.get("data")
        if now is not None and isinstance(of, dict) and of.get("sha256", now) != now:
            raise InputError(
                f"{data} has changed since {path} was predicted: run that command again, it "
                "answers only what has changed"
            )
        first = first or described
    return first
