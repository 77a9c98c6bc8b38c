"""Read the pictures of a batch, and answer those of its rows whose earlier answer is not valid."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from vqa.answering import SupportsAnswerEach, SupportsClearing
from vqa.data.example import Example
from vqa.errors import InputError, VQAError
from vqa.evaluation.answer_rows import Cancelled, PredictionRow, answer_rows, error_row
from vqa.evaluation.batch_plan import Batch, PictureGroup
from vqa.evaluation.picture_conditions import Condition, ConditionPictures
from vqa.evaluation.prediction_store import join_fingerprints
from vqa.evaluation.predictions import RowId
from vqa.evaluation.prefetch import prefetch
from vqa.utils import fingerprint

if TYPE_CHECKING:
    from PIL import Image

    from vqa.answering import Answerer, SamplingParams

# A batch with more is put to the model in pieces. They depend on the pictures alone, so a run that
# goes on makes the same ones.
_PIXELS_AT_ONCE = 200_000_000
_PIXELS_AHEAD = 100_000_000  # decoded and waiting; one photo may have 64 million: 200 MB


@dataclass(frozen=True)
class BatchRun:
    """What all batches of a run have in common."""

    fingerprint: str
    settings: SamplingParams
    choices: bool
    condition: Condition
    pictures: Sequence[tuple[Path, ...]]  # of all rows, where a row may get those of another


@dataclass(frozen=True)
class LoadedGroup:
    """A group whose files were read; its pictures only where a row has to be answered."""

    group: PictureGroup
    fingerprints: Mapping[RowId, str]  # of its rows
    pictures: tuple[Image.Image, ...] | None = None
    error: InputError | None = None  # why the pictures cannot be opened

    @property
    def pixels(self) -> int:
        return sum(picture.width * picture.height for picture in self.pictures or ())


class BatchAnswerer:
    """Reads the groups of batches (in any thread) and answers batches (in one).

    `previous` are the fingerprints of the rows that earlier runs have answered.
    """

    def __init__(
        self,
        answerer: Answerer,
        run: BatchRun,
        previous: Mapping[RowId, str],
        cancel: Event | None = None,
    ) -> None:
        self._answerer = answerer
        self._each_alone = isinstance(answerer, SupportsAnswerEach)  # an endpoint
        self._silent = False  # whether it answered nothing the last time
        self._run = run
        self._pictures = ConditionPictures(run.pictures, run.condition)
        self._previous = previous
        self._cancel = cancel
        self._pending: set[int] = set()  # numbers of batches that have a row to be answered

    def load(self, task: tuple[int, PictureGroup]) -> LoadedGroup:
        """Fingerprint the rows of a group; open its pictures unless nothing needs them."""
        number, group = task
        pictures = self._pictures.fingerprints(group.images)
        loaded = LoadedGroup(
            group, {row.id: self._fingerprint(row, pictures) for row in group.rows}
        )
        valid = all(self._is_valid(loaded, row) for row in group.rows)
        if valid and number not in self._pending:
            return loaded
        loaded = self._open(loaded)
        if not valid and loaded.error is None:
            self._pending.add(number)
        return loaded

    def answer(self, number: int, groups: Iterator[LoadedGroup]) -> list[PredictionRow]:
        """Return the new rows of a batch, in the order of the plan; none where all are valid."""
        rows: list[PredictionRow] = []
        order: dict[RowId, int] = {}
        together: list[LoadedGroup] = []
        pixels = 0
        for loaded in self._opened(number, groups):
            order |= {row.id: len(order) + n for n, row in enumerate(loaded.group.rows)}
            if loaded.error is not None:
                rows += [
                    error_row(row.id, loaded.error) | {"fingerprint": loaded.fingerprints[row.id]}
                    for row in loaded.group.rows
                    if not self._is_valid(loaded, row)
                ]
                continue
            if together and pixels + loaded.pixels > _PIXELS_AT_ONCE:
                rows += self._answer(together)
                together, pixels = [], 0
            together.append(loaded)
            pixels += loaded.pixels
        self._pending.discard(number)
        rows += self._answer(together)
        return sorted(rows, key=lambda row: order[row["id"]])

    def _fingerprint(self, row: Example, pictures: list[str]) -> str:
        content: list[Any] = [pictures, row.question]
        if self._run.choices:
            content.append(row.extra.get("choices"))
        # rows without earlier turns, and turns without places, keep the fingerprints they have
        if row.places:
            content.append({"places": row.places})
        if row.earlier or row.system:
            turns = [
                [turn.question, turn.answer, turn.pictures, *([turn.places] if turn.places else [])]
                for turn in row.earlier
            ]
            content.append({"earlier": turns, "system": row.system})
        return join_fingerprints(self._run.fingerprint, fingerprint.of_json(content))

    def _opened(self, number: int, groups: Iterator[LoadedGroup]) -> Iterator[LoadedGroup]:
        """Yield the groups with their pictures or errors, once a row of the batch is pending.

        Until then they are not opened; a batch of which all rows are valid never is.
        """
        waiting: list[LoadedGroup] = []
        for loaded in groups:
            waiting.append(loaded)
            while waiting and number in self._pending:
                first = waiting.pop(0)
                opened = first.pictures is not None or first.error is not None
                yield first if opened else self._open(first)
        yield from (loaded for loaded in waiting if loaded.error is not None)

    def _open(self, loaded: LoadedGroup) -> LoadedGroup:
        try:
            return replace(loaded, pictures=self._pictures.load(loaded.group.images))
        except InputError as error:
            return replace(loaded, error=error)

    def _answer(self, groups: Sequence[LoadedGroup]) -> list[PredictionRow]:
        """Answer groups at once, valid rows too: in a batch they may change the last digits."""
        fingerprints = {key: value for each in groups for key, value in each.fingerprints.items()}
        changed = {key for key, value in fingerprints.items() if self._previous.get(key) != value}
        if not changed:
            return []
        pairs = [(row, loaded.pictures or ()) for loaded in groups for row in loaded.group.rows]
        if self._each_alone:
            valid = [row.id for row, _ in pairs if row.id not in changed]
            # one that was answered before shows whether the endpoint is there at all
            pairs = [pair for pair in pairs if pair[0].id not in valid[1:]]
        if isinstance(self._answerer, SupportsClearing):
            self._answerer.clear_caches()  # or a run that goes on here would differ in last digits
        try:
            rows = answer_rows(
                self._answerer, pairs, self._run.settings,
                choices=self._run.choices, cancel=self._cancel,
            )  # fmt: skip
            self._silent = False
        except (InputError, Cancelled):
            raise
        except VQAError as error:
            if self._silent or not self._each_alone:
                raise
            self._silent = True  # these rows may be what it fails on; a second time it is gone
            rows = [error_row(row.id, error) for row, _ in pairs]
        return [
            row | {"fingerprint": fingerprints[row["id"]]} for row in rows if row["id"] in changed
        ]

    def _is_valid(self, loaded: LoadedGroup, row: Example) -> bool:
        return self._previous.get(row.id) == loaded.fingerprints[row.id]


def load_groups(
    answerer: BatchAnswerer, tasks: Sequence[tuple[int, PictureGroup]], rows: int
) -> Generator[LoadedGroup]:
    """Yield the groups of batches of at most so many `rows`, read ahead by threads."""
    return prefetch(
        answerer.load,
        tasks,
        lambda loaded: loaded.pixels,
        threads=min(8, max(2, (os.cpu_count() or 2) // 2)),
        most=max(8, 2 * rows),
        most_size=_PIXELS_AHEAD,
    )


def answer_batches(
    answerer: Answerer,
    run: BatchRun,
    batches: Sequence[Batch],
    previous: Mapping[RowId, str],
    cancel: Event | None = None,
) -> Generator[list[PredictionRow]]:
    """Yield the new rows of each batch. Raises Cancelled once `cancel` is set."""
    batch_answerer = BatchAnswerer(answerer, run, previous, cancel)
    tasks = [(number, group) for number, batch in enumerate(batches) for group in batch]
    most = max((sum(len(group.rows) for group in batch) for batch in batches), default=0)
    with closing(load_groups(batch_answerer, tasks, most)) as groups:
        for number, batch in enumerate(batches):
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"{answerer.name} was stopped")
            yield batch_answerer.answer(number, islice(groups, len(batch)))
