"""From rows of question and answer to batches of questions about pictures, for a fusion model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from training.features import fingerprints
from training.planning import read_rows, refuse_leaks, spread
from training.rows import Pictures, Prepared, TrainRows, Validation, features_of, pixels_of
from training.settings import QuestionSettings
from training.views import WHOLE, View
from vqa import fingerprint
from vqa.data.example import Example
from vqa.data.identity import sha256
from vqa.data.split import held_out
from vqa.errors import InputError
from vqa.fusion.answers import Answers
from vqa.fusion.model import FusionModel
from vqa.fusion.words import Words, padded
from vqa.metrics import metric

_TOGETHER = 4  # questions about one picture that stand side by side


@dataclass(frozen=True)
class Questions:
    """R questions, each about one picture, as arrays: millions of rows stay small."""

    ids: NDArray[np.int32]  # token ids of all questions, one behind the other
    starts: NDArray[np.int64]  # [R + 1]
    pictures: NDArray[np.int32]  # [R], places in `paths`
    classes: NDArray[np.int32]  # accepted answers of all questions
    shares: NDArray[np.float32]  # how much of its question's vote each has
    class_starts: NDArray[np.int64]  # [R + 1]
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def known(self) -> NDArray[np.bool_]:
        """Which questions have an accepted answer that is a class, [R]."""
        return np.diff(self.class_starts) > 0


class FusionRows(TrainRows):
    """Batches of questions in the order in which they are trained on.

    A picture that a batch asks about several times is in it once.
    """

    dtype = torch.float32

    def __init__(
        self, questions: Questions, order: NDArray[np.int32], size: int, pictures: Pictures,
        answers: int,
    ) -> None:  # fmt: skip
        self.questions = questions
        self.order = order
        self.size = size
        self.pictures = pictures
        self.answers = answers

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.size)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        found = self.questions
        rows = self.order[index * self.size : (index + 1) * self.size]  # [B]
        targets = torch.zeros(len(rows), self.answers)  # [B, A]
        for target, row in zip(targets, rows, strict=True):
            own = slice(*found.class_starts[row : row + 2])
            target[torch.from_numpy(found.classes[own]).long()] = torch.from_numpy(
                found.shares[own]
            )
        places, pictures = np.unique(found.pictures[rows], return_inverse=True)
        return {
            "input_ids": padded(
                [found.ids[slice(*found.starts[row : row + 2])].tolist() for row in rows]
            ),  # [B, T]
            "pictures": torch.from_numpy(pictures),  # [B]
            "pixel_values": torch.stack(
                [self.pictures(found.paths[place]).float() for place in places]
            ),  # [P, N, Dv] or [P, 3, H, W]
            "targets": targets,
            # a question whose answer is no class teaches and measures nothing but its answer
            "weights": (targets.sum(1) > 0).float(),  # [B]
        }


@dataclass(frozen=True)
class Planned:
    """Which rows are trained on and measured, and the answers that are learned."""

    answers: Answers
    trained: Questions
    order: NDArray[np.int32]  # of rows of `trained`: all epochs, each in an order of its own
    rows: int  # rows of the data that are trained on
    measured: Questions
    examples: list[Example]  # of `measured`
    prints: dict[str, str]  # fingerprints of the pictures' files by path
    unknown: int  # training rows none of whose answers is a class
    unused: int  # rows that are not about one picture

    def seen(self) -> dict[str, tuple[Path, View]]:
        """What the run looks at, by the key of its features in a cache."""
        paths = {*self.trained.paths, *self.measured.paths}
        return {self.prints[path]: (Path(path), WHOLE) for path in paths}


def plan(
    settings: QuestionSettings, words: Words, least: int, most: int | None, longest: int
) -> Planned:
    """Read the data, keep pictures for validation, and find the answers that are learned.

    Raises InputError where nothing is left to learn, or a question has more than `longest` tokens.
    """
    if settings.data is None:
        raise InputError("data: name a file of rows with image, question and answer")
    own = settings.validation.data
    rows = _rows(settings.data, settings)
    checked = [] if own is None else _rows(own, settings)
    used = [row for row in rows if len(_shown(row)) == 1]
    measured = [row for row in checked if len(_shown(row)) == 1]
    unused = len(rows) + len(checked) - len(used) - len(measured)
    if not used:
        raise InputError(f"{settings.data}: no row is about exactly one picture")
    prints = fingerprints(sorted({_picture(row) for row in chain(used, measured)}))
    if own is None:
        shown = {prints[_picture(row)] for row in used}
        held = held_out(shown, settings.validation.share, settings.seed)
        measured = [row for row in used if prints[_picture(row)] in held]
        used = [row for row in used if prints[_picture(row)] not in held]
    else:
        refuse_leaks(map(_picture, used), map(_picture, measured), prints, own)
    kept = spread(np.arange(len(measured), dtype=np.int32), settings.validation.rows, settings.seed)
    measured = [measured[number] for number in kept.tolist()]
    answers = Answers.of((row.answers for row in used), least, most)
    trained = questions(used, words, answers, longest)
    known = np.flatnonzero(trained.known()).astype(np.int32)
    return Planned(
        answers, trained, _epochs(known, trained.pictures, settings), len(known),
        questions(measured, words, answers, longest), measured, prints,
        len(used) - len(known), unused,
    )  # fmt: skip


def prepare(
    settings: QuestionSettings, planned: Planned, model: FusionModel, processor: object,
    size: int, pixels: bool,
) -> Prepared:  # fmt: skip
    """Batches of `size` questions; features that are missing are computed, or `pixels` read."""
    with PartialState().main_process_first():  # the others find the features on disk
        pictures = (
            pixels_of(processor)
            if pixels
            else features_of(model, processor, planned.seen(), planned.prints)
        )
    count = len(planned.answers)
    train = FusionRows(planned.trained, planned.order, size, pictures, count)
    validation = None
    if len(planned.measured):
        order = np.arange(len(planned.measured), dtype=np.int32)
        rows = FusionRows(planned.measured, order, size, pictures, count)
        validation = Validation(rows, planned.examples, metric(settings.validation.metric))
    files = [path for path in (settings.data, settings.validation.data) if path is not None]
    identity = fingerprint.of_json([sha256(path) for path in files])
    learned = {planned.trained.paths[place] for place in planned.trained.pictures[planned.order]}
    return Prepared(train, validation, identity, planned.rows, len(learned))


def questions(rows: Sequence[Example], words: Words, answers: Answers, longest: int) -> Questions:
    """Encode rows that are each about one picture."""
    paths = sorted({_picture(row) for row in rows})
    places = {path: place for place, path in enumerate(paths)}
    ids = [_ids(row, words, longest) for row in rows]
    shares = [answers.shares(row.answers) for row in rows]
    return Questions(
        np.fromiter(chain.from_iterable(ids), np.int32),
        np.cumsum([0, *map(len, ids)], dtype=np.int64),
        np.array([places[_picture(row)] for row in rows], dtype=np.int32),
        np.fromiter(chain.from_iterable(shares), np.int32),
        np.fromiter(chain.from_iterable(share.values() for share in shares), np.float32),
        np.cumsum([0, *map(len, shares)], dtype=np.int64),
        tuple(paths),
    )


def _rows(path: Path, settings: QuestionSettings) -> list[Example]:
    return list(track(read_rows(path, settings), f"rows of {path.name}", total=None))


def _ids(row: Example, words: Words, longest: int) -> list[int]:
    try:
        return words.ids(row.question, longest)
    except InputError as error:
        raise InputError(f"row {row.id!r}: {error}") from error


def _shown(row: Example) -> tuple[str, ...]:
    """The pictures that were last shown before the question was asked, as in answering."""
    counts = [turn.pictures for turn in row.earlier]
    counts.append(len(row.images) - sum(counts))
    end = len(row.images)
    for count in reversed(counts):
        if count:
            return tuple(map(str, row.images[end - count : end]))
    return ()


def _picture(row: Example) -> str:
    return _shown(row)[0]


def _epochs(
    rows: NDArray[np.int32], pictures: NDArray[np.int32], settings: QuestionSettings
) -> NDArray[np.int32]:
    """All epochs, one after the other, each in an order of its own. `pictures` [R] of all rows."""
    orders = [
        shuffled(rows, pictures, np.random.default_rng([settings.seed, epoch]))
        for epoch in range(math.ceil(settings.epochs))
    ]
    return np.concatenate(orders)[: math.ceil(len(rows) * settings.epochs)]


def shuffled(
    rows: NDArray[np.int32], pictures: NDArray[np.int32], random: np.random.Generator
) -> NDArray[np.int32]:
    """The rows at random, but up to `_TOGETHER` about one picture side by side.

    A picture is projected once for them; all of its questions in one batch would teach less.
    """
    mixed = random.permutation(rows)
    mixed = mixed[np.argsort(pictures[mixed], kind="stable")]  # by picture, at random within it
    first = np.flatnonzero(np.diff(pictures[mixed], prepend=-1))  # [P]
    counts = np.diff(first, append=len(mixed))  # [P]
    place = np.arange(len(mixed)) - np.repeat(first, counts)  # within its picture
    group = np.cumsum(place % _TOGETHER == 0) - 1
    keys = random.permutation(len(mixed))[group]
    return mixed[np.argsort(keys, kind="stable")]
