"""Answer all rows of a file in batches; what is interrupted goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from vqa import fingerprint
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.ahead import ahead
from vqa.evaluation.asking import Cancelled, error_row
from vqa.evaluation.pictures import Condition, Pictures
from vqa.evaluation.plan import plan
from vqa.evaluation.plan import shard as piece_of
from vqa.evaluation.resume import RUN_DIGITS, Id, joined, predictions, run_of, take_over
from vqa.evaluation.work import Work
from vqa.files import append_jsonl, atomic_write, lock, open_jsonl
from vqa.version import __version__

if TYPE_CHECKING:
    from vqa.answering import Answerer, Settings

BATCH_SIZE = 32
_PIXELS_AHEAD = 100_000_000  # decoded and waiting; one photo may have 64 million: 200 MB


@dataclass(frozen=True)
class Outcome:
    """What a run did: rows that were answered, that failed, and that earlier runs had answered."""

    answered: int
    errors: int
    kept: int


def predict(
    answerer: Answerer,
    examples: Sequence[Example],
    out: str | PathLike[str],
    settings: Settings,
    *,
    identity: str,
    condition: Condition = "seen",
    choices: bool = False,
    batch_size: int = BATCH_SIZE,
    shard: tuple[int, int] = (1, 1),
    failed: Mapping[Id, str] | None = None,
    sources: Sequence[Path] = (),
    about: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Event | None = None,
) -> Outcome:
    """Write a row `{"id", "prediction", "probability", "finish", "fingerprint"}` for each example.

    Batches are planned from all rows (`plan`), and what a batch holds does not depend on where an
    earlier run stopped: an interrupted run that goes on ends with the rows of an unbroken one.
    Each batch is on the disk before the next begins; pictures of the next ones are read meanwhile.
    Memory does not grow with the rows but for their ids, questions and fingerprints.

    A row of an earlier run is kept where its fingerprint is the same: the bytes of its pictures,
    the question, `identity` (of the model), the settings and the condition. Rows of other data or
    runs are removed at the start, changed ones are answered again; their old rows go at the end. A
    row whose picture or question cannot be used becomes `{"id", "error", "fingerprint"}`, and so do
    `failed` ones (why, by id; of rows of the data that are no examples). The next run tries them
    again.

    Errors of rows never end the run. An InputError of `answer` is about one of its requests, which
    is found by asking in halves. An endpoint has `answer_each`, which gives an InputError in an
    answer's place; its own InputError, and its VQAError at two batches in a row, end the run, as
    any VQAError of `answer` does.

    `choices`: the answerer is a `Choosing`; of the texts in the row's column `choices` the
    likeliest is the prediction, its share of their probabilities is `probability`, and the row
    gets `"choices": [{"text", "probability"}]`.
    `shard`: answer only the `i`th of `n` pieces of the plan, from 1; the first has `failed` too.
    `sources`: other files whose rows still count, as if they stood in `out`.
    `about`: `model`, `adapter`, `backend`, `data` and further `settings` for `OUT.run.json`, which
    describes the run.
    `progress` is told the rows that are done and how many there are.
    `cancel`, once set, ends the run with Cancelled; as after a kill, the next run goes on.

    Raises InputError where ids come twice, and where `out` holds what is no prediction of this data
    and shard: it stays as it is.
    """
    out = Path(out)
    batches = plan(examples, batch_size)
    pictures = Pictures((group.images for batch in batches for group in batch), condition)
    batches = list(piece_of(batches, *shard))
    own = {row.id for batch in batches for group in batch for row in group.rows}
    known = {example.id for example in examples}
    if len(known) < len(examples):
        raise InputError("an id comes twice in the rows to predict")
    bad = dict(failed or {})
    known |= set(bad)
    if shard[0] != 1:
        bad.clear()
    run = run_fingerprint(identity, condition, settings, choices)
    total = len(own) + len(bad)
    tell = progress or (lambda done, total: None)
    answered = errors = kept = 0
    with lock(out):
        refuse_foreign(out, own | set(bad), known)
        before = take_over(
            out,
            sources,
            lambda row: (
                row["id"] in own and run_of(row["fingerprint"]) == run and "error" not in row
            ),
        )
        settings_json = _settings_json(settings) | {"choices": choices, "batch_size": batch_size}
        _describe(out, answerer.name, about or {}, condition, settings_json, total)
        work = Work(answerer, settings, choices, run, pictures, before, cancel)
        tasks = [(number, group) for number, batch in enumerate(batches) for group in batch]
        reading = ahead(
            work.read,
            tasks,
            lambda read: read.pixels,
            threads=min(8, max(2, (os.cpu_count() or 2) // 2)),
            most=max(8, 2 * batch_size),
            most_size=_PIXELS_AHEAD,
        )
        replaced = False
        with closing(reading) as reads, open_jsonl(out) as file:
            for key, reason in bad.items():
                row = error_row(key, reason)
                row["fingerprint"] = joined(run, fingerprint.of_json([reason]))
                append_jsonl(file, row)
                errors += 1
            tell(errors, total)
            for number, batch in enumerate(batches):
                if cancel is not None and cancel.is_set():
                    raise Cancelled(f"{answerer.name} was stopped")
                rows = work.rows(number, islice(reads, len(batch)))
                if rows:
                    append_jsonl(file, *rows)
                failures = sum("error" in row for row in rows)
                errors += failures
                answered += len(rows) - failures
                kept += sum(len(group.rows) for group in batch) - len(rows)
                replaced = replaced or any(row["id"] in before for row in rows)
                tell(answered + errors + kept, total)
        if replaced:
            take_over(out, (), lambda row: True)
    return Outcome(answered, errors, kept)


def run_fingerprint(
    identity: str, condition: Condition, settings: Settings, choices: bool = False
) -> str:
    """What the fingerprints of all rows of a run begin with."""
    whole = [identity, condition, _settings_json(settings), choices]
    return fingerprint.of_json(whole)[:RUN_DIGITS]


def _settings_json(settings: Settings) -> dict[str, Any]:
    return {
        "max_new_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": settings.seed,
    }


def refuse_foreign(out: Path, own: Collection[Id], known: Collection[Id]) -> None:
    """Raise InputError where `out` belongs to other data or to another shard of this data."""
    found = related = False
    for _, row in predictions(out):
        found = True
        related = related or row["id"] in known
        if row["id"] in known and row["id"] not in own:
            raise InputError(
                f"{out} holds rows of another shard (id {row['id']!r}); name another file for --out"
            )
    if found and not related:
        raise InputError(f"{out} holds predictions of other data; name another file for --out")


def _describe(
    out: Path,
    name: str,
    about: Mapping[str, Any],
    condition: Condition,
    settings: Mapping[str, Any],
    rows: int,
) -> None:
    described = {
        "model": about.get("model", name),
        "adapter": about.get("adapter"),
        "backend": about.get("backend"),
        "condition": condition,
        "settings": {**settings, **about.get("settings", {})},
        "data": about.get("data"),
        "rows": rows,
        "vqa": __version__,
    }
    with atomic_write(described_in(out)) as file:
        file.write(json.dumps(described, ensure_ascii=False, indent=2) + "\n")


def described_in(out: Path) -> Path:
    """The file beside predictions that describes their run."""
    return Path(f"{out}.run.json")
