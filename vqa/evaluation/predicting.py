"""Answer all rows of a file in batches; what is interrupted goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.answer_rows import PredictionRow, error_row
from vqa.evaluation.batch_answering import BatchRun, answer_batches
from vqa.evaluation.batch_plan import Batch, plan_batches, take_shard
from vqa.evaluation.picture_conditions import OWN_PICTURE, Condition, ConditionPictures
from vqa.evaluation.prediction_store import (
    RUN_DIGITS,
    join_fingerprints,
    keep_valid,
    read_stored,
    run_part,
)
from vqa.evaluation.predictions import RowId
from vqa.evaluation.run_description import write_description
from vqa.utils import fingerprint
from vqa.utils.files import append_jsonl, lock, open_jsonl

if TYPE_CHECKING:
    from vqa.answering import Answerer, SamplingParams

BATCH_SIZE = 32


@dataclass(frozen=True)
class PredictionCounts:
    """Rows that a run answered, that failed, and that earlier runs had answered."""

    answered: int
    errors: int
    reused: int


@runtime_checkable
class BatchWorkers(Protocol):
    """Processes that answer the batches of a run, in place of an answerer of this one."""

    @property
    def name(self) -> str: ...

    def answer_batches(
        self, run: BatchRun, batches: Sequence[Batch], previous: Mapping[RowId, str]
    ) -> Generator[list[PredictionRow]]:
        """Yield the new rows of each batch, in the order of the plan."""


def predict(
    answerer: Answerer | BatchWorkers,
    examples: Sequence[Example],
    out: str | PathLike[str],
    settings: SamplingParams,
    *,
    identity: str,
    condition: Condition = OWN_PICTURE,
    choices: bool = False,
    batch_size: int = BATCH_SIZE,
    shard: tuple[int, int] = (1, 1),
    failed: Mapping[RowId, str] | None = None,
    sources: Sequence[Path] = (),
    about: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Event | None = None,
) -> PredictionCounts:
    """Write a row `{"id", "prediction", "probability", "finish", "fingerprint"}` for each example.

    Batches are planned from all rows (`plan_batches`), and what a batch holds does not depend on
    where an earlier run stopped: an interrupted run that goes on ends with the rows of an unbroken
    one. Each batch is on the disk before the next begins; pictures of the next ones are read
    meanwhile. Memory does not grow with the rows but for their ids, questions and fingerprints.

    A row of an earlier run stays where its fingerprint is the same: the bytes of its pictures,
    the question, `identity` (of the model), the settings and the condition. Rows of other data or
    runs are removed at the start, changed ones are answered again; their old rows go at the end. A
    row whose picture or question cannot be used becomes `{"id", "error", "fingerprint"}`, and so do
    `failed` ones (why, by id; of rows of the data that are no examples). The next run tries them
    again.

    Errors of rows never end the run. An InputError of `answer` is about one of its requests, which
    is isolated by asking in halves. An endpoint has `answer_each`, which gives an InputError in an
    answer's place; its own InputError, and its VQAError at two batches in a row, end the run, as
    any VQAError of `answer` does.

    `choices`: the answerer is a `SupportsChoices`; of the texts in the row's column `choices` the
    likeliest is the prediction, its share of their probabilities is `probability`, and the row
    gets `"choices": [{"text", "probability"}]`.
    `shard`: answer only the `i`th of `n` pieces of the plan, from 1; the first has `failed` too.
    `sources`: other files whose rows still count, as if they stood in `out`.
    `about`: `model`, `adapter`, `backend`, `data` and further `settings` for `OUT.run.json`, which
    describes the run.
    `progress` takes the rows that are done and how many there are.
    `cancel`, once set, ends the run with Cancelled; as after a kill, the next run goes on. It is
    for an answerer of this process.

    Raises InputError where ids come twice (those that `vqa.data.read` gives do not), and where
    `out` holds what is no prediction of this data and shard: it stays as it is.
    """
    out = Path(out)
    batches = plan_batches(examples, batch_size)
    pictures = [group.images for batch in batches for group in batch]
    ConditionPictures(pictures, condition)  # raises where there is nothing to swap with
    batches = list(take_shard(batches, *shard))
    shard_ids = {row.id for batch in batches for group in batch for row in group.rows}
    data_ids = {example.id for example in examples}
    if len(data_ids) < len(examples):
        raise InputError("an id comes twice in the rows to predict")
    bad = dict(failed or {})
    data_ids |= set(bad)
    if shard[0] != 1:
        bad.clear()
    run = run_fingerprint(identity, condition, settings, choices)
    shared = pictures if condition == "swap" else []
    batch_run = BatchRun(run, settings, choices, condition, shared)
    total = len(shard_ids) + len(bad)
    report = progress or (lambda done, total: None)
    answered = errors = reused = 0

    def is_valid(row: PredictionRow) -> bool:
        same_run = run_part(row["fingerprint"]) == run
        return row["id"] in shard_ids and same_run and "error" not in row

    with lock(out):
        check_output(out, shard_ids | set(bad), data_ids)
        previous = keep_valid(out, sources, is_valid)
        settings_json = _settings_json(settings) | {"choices": choices, "batch_size": batch_size}
        write_description(out, answerer.name, about or {}, condition, settings_json, total)
        if isinstance(answerer, BatchWorkers):
            answering = answerer.answer_batches(batch_run, batches, previous)
        else:
            answering = answer_batches(answerer, batch_run, batches, previous, cancel)
        replaced = False
        with closing(answering) as answered_batches, open_jsonl(out) as file:
            for key, reason in bad.items():
                row = error_row(key, reason)
                row["fingerprint"] = join_fingerprints(run, fingerprint.of_json([reason]))
                append_jsonl(file, row)
                errors += 1
            report(errors, total)
            for batch, rows in zip(batches, answered_batches, strict=True):
                if rows:
                    append_jsonl(file, *rows)
                failures = sum("error" in row for row in rows)
                errors += failures
                answered += len(rows) - failures
                reused += sum(len(group.rows) for group in batch) - len(rows)
                replaced = replaced or any(row["id"] in previous for row in rows)
                report(answered + errors + reused, total)
        if replaced:
            keep_valid(out, (), lambda row: True)
    return PredictionCounts(answered, errors, reused)


def run_fingerprint(
    identity: str, condition: Condition, settings: SamplingParams, choices: bool = False
) -> str:
    """Return what the fingerprints of all rows of a run begin with."""
    content = [identity, condition, _settings_json(settings), choices]
    return fingerprint.of_json(content)[:RUN_DIGITS]


def _settings_json(settings: SamplingParams) -> dict[str, Any]:
    content: dict[str, Any] = {
        "max_new_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": settings.seed,
    }
    if settings.num_beams > 1:  # greedy predictions keep the fingerprints they have
        content["num_beams"] = settings.num_beams
        content["length_penalty"] = settings.length_penalty
    return content


def check_output(out: Path, shard_ids: Collection[RowId], data_ids: Collection[RowId]) -> None:
    """Raise InputError where `out` belongs to other data or to another shard of this data."""
    stored = related = False
    for _, row in read_stored(out):
        stored = True
        related = related or row["id"] in data_ids
        if row["id"] in data_ids and row["id"] not in shard_ids:
            raise InputError(
                f"{out} holds rows of another shard (id {row['id']!r}); name another file for `out`"
            )
    if stored and not related:
        raise InputError(f"{out} holds predictions of other data; name another file for `out`")
