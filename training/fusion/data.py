"""From rows of question and answer to batches of questions about pictures, for a fusion model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.common.features import PictureTensors
from training.common.pictures import open_pictures
from training.common.planning import (
    data_files,
    data_fingerprint,
    data_root,
    draw_rows,
    indices_of,
    refuse_leaks,
)
from training.common.recipe import PlanSize, TrainPlan
from training.common.rows import TrainRows
from training.common.settings import QuestionSettings
from training.common.skipped import FileProblems, SkippedRows, refuse_none_left, refuse_or_skip
from training.common.views import WHOLE, View
from vqa.data import read
from vqa.data.example import Example
from vqa.data.split import held_out
from vqa.errors import InputError
from vqa.fusion.answer_vocabulary import AnswerVocabulary
from vqa.fusion.token_embeddings import TokenEmbeddings, pad_questions
from vqa.inputs import placeholders
from vqa.utils.progress import track

_TOGETHER = 4  # questions about one picture that stand side by side


@dataclass(frozen=True)
class Questions:
    """R questions, each about one picture, as arrays: millions of rows stay small."""

    ids: NDArray[np.int32]  # token ids of all questions, one behind the other
    starts: NDArray[np.int64]  # [R + 1]
    pictures: NDArray[np.int32]  # [R], indices into `paths`
    classes: NDArray[np.int32]  # accepted answers of all questions
    shares: NDArray[np.float32]  # how much of its question's vote each has
    class_starts: NDArray[np.int64]  # [R + 1]
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def answerable(self) -> NDArray[np.bool_]:
        """Mark the questions with an accepted answer that is a class, [R]."""
        return np.diff(self.class_starts) > 0


class FusionRows(TrainRows):
    """Batches of questions in the order in which they are trained on.

    A picture that a batch asks about several times is in it once.
    """

    dtype = torch.float32

    def __init__(
        self, questions: Questions, order: NDArray[np.int32], size: int, pictures: PictureTensors,
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
        questions = self.questions
        rows = self.order[index * self.size : (index + 1) * self.size]  # [B]
        targets = torch.zeros(len(rows), self.answers)  # [B, A]
        for target, row in zip(targets, rows, strict=True):
            span = slice(*questions.class_starts[row : row + 2])
            classes = torch.from_numpy(questions.classes[span]).long()
            target[classes] = torch.from_numpy(questions.shares[span])
        indices, pictures = np.unique(questions.pictures[rows], return_inverse=True)
        return {
            "input_ids": pad_questions(
                [questions.ids[slice(*questions.starts[row : row + 2])].tolist() for row in rows]
            ),  # [B, T]
            "pictures": torch.from_numpy(pictures),  # [B]
            "pixel_values": torch.stack(
                [self.pictures(questions.paths[index])[0].float() for index in indices]
            ),  # [P, N, Dv] or [P, 3, H, W]
            "targets": targets,
            # a question whose answer is no class teaches and measures nothing but its answer
            "weights": (targets.sum(1) > 0).float(),  # [B]
        }


@dataclass(frozen=True)
class FusionPlan(TrainPlan):
    """Which rows are trained on and measured, and the answers that are classes."""

    answers: AnswerVocabulary
    train: Questions
    order: NDArray[np.int32]  # of rows of `train`: all epochs, each in an order of its own
    rows: int  # rows of the data that are trained on
    row_questions: int  # that run at once
    validation: Questions
    val_examples: list[Example]  # of `validation`
    fingerprints: dict[str, str]  # of the pictures' files by path
    unanswerable: int  # training rows none of whose answers is a class
    unused: int  # rows that are not about one picture, or whose answer is not trained on
    skipped: SkippedRows
    data_fingerprint: str

    @property
    def size(self) -> PlanSize:
        """How large the run is."""
        pictures = len(np.unique(self.train.pictures[self.order]))
        packed = math.ceil(len(self.order) / self.row_questions)
        return PlanSize(self.rows, pictures, len(self.validation), packed)

    def pictures(self) -> dict[str, tuple[Path, View]]:
        """Collect the pictures that the run needs by the key of their features in a cache."""
        paths = {*self.train.paths, *self.validation.paths}
        return {self.fingerprints[path]: (Path(path), WHOLE) for path in paths}


@dataclass(frozen=True)
class QuestionRow:
    """A row about one picture, and the token ids of its question."""

    example: Example
    picture: str  # its path
    ids: list[int]


def plan_rows(
    settings: QuestionSettings,
    words: TokenEmbeddings,
    least: int,
    most: int | None,
    longest: int,
    row_questions: int = 64,
) -> FusionPlan:
    """Read the data, keep pictures for validation, and choose the answers that become classes.

    Raises InputError where nothing is left to learn, and with all rows that cannot be used: whose
    question has more than `longest` tokens, or whose picture cannot be opened.
    """
    paths = data_files(settings, "rows with image, question and answer")
    files = [FileProblems(path) for path in paths]
    tables = [_read_questions(file, settings, words, longest) for file in files]
    opened = open_pictures(sorted({row.picture for rows, _ in tables for row in rows}))
    fingerprints = opened.fingerprints
    for file, (rows, _) in zip(files, tables, strict=True):
        for row in rows:
            file.add_pictures(row.example.line, [row.picture], opened.broken)
    skipped = refuse_or_skip(files, settings.skip_bad)
    train, *others = ([row for row in rows if row.picture in fingerprints] for rows, _ in tables)
    unused = sum(count for _, count in tables)
    if not train and unused:
        raise InputError(f"{settings.data}: no row is about exactly one picture")
    refuse_none_left(files[0], len(train))
    if settings.validation.data is None:
        contents = {fingerprints[row.picture] for row in train}
        apart = held_out(contents, settings.validation.share, settings.seed)
        measured = [row for row in train if fingerprints[row.picture] in apart]
        train = [row for row in train if fingerprints[row.picture] not in apart]
    else:
        measured = others[0]
        refuse_none_left(files[1], len(measured))
        pictures = [row.picture for row in train], [row.picture for row in measured]
        refuse_leaks(*pictures, fingerprints, settings.validation.data)
    numbers = np.arange(len(measured), dtype=np.int32)
    drawn = draw_rows(numbers, settings.validation.rows, settings.seed)
    measured = [measured[number] for number in drawn.tolist()]
    answers = AnswerVocabulary.from_rows((row.example.answers for row in train), least, most)
    questions = to_arrays(train, answers)
    answerable = indices_of(questions.answerable())
    return FusionPlan(
        answers=answers,
        train=questions,
        order=_epochs(answerable, questions.pictures, settings, row_questions),
        rows=len(answerable),
        row_questions=row_questions,
        validation=to_arrays(measured, answers),
        val_examples=[row.example for row in measured],
        fingerprints=fingerprints,
        unanswerable=len(train) - len(answerable),
        unused=unused,
        skipped=skipped,
        data_fingerprint=data_fingerprint(paths),
    )


def to_arrays(rows: Sequence[QuestionRow], answers: AnswerVocabulary) -> Questions:
    """Put questions into arrays."""
    paths = sorted({row.picture for row in rows})
    indices = {path: index for index, path in enumerate(paths)}
    shares = [answers.soft_targets(row.example.answers) for row in rows]
    return Questions(
        np.fromiter(chain.from_iterable(row.ids for row in rows), np.int32),
        np.cumsum([0, *(len(row.ids) for row in rows)], dtype=np.int64),
        np.array([indices[row.picture] for row in rows], dtype=np.int32),
        np.fromiter(chain.from_iterable(shares), np.int32),
        np.fromiter(chain.from_iterable(share.values() for share in shares), np.float32),
        np.cumsum([0, *map(len, shares)], dtype=np.int64),
        tuple(paths),
    )


def _read_questions(
    file: FileProblems, settings: QuestionSettings, words: TokenEmbeddings, longest: int
) -> tuple[list[QuestionRow], int]:
    """Read the rows of a file that are about one picture, and count those that are not."""
    rows: list[QuestionRow] = []
    unused = 0
    examples = read(
        file.file,
        data_root(file.file, settings),
        bad=lambda row: file.add(row.line, row.reason),
        notice=file.notices.append,
    )
    for example in track(examples, f"rows of {file.file.name}"):
        pictures = _last_pictures(example)
        if not example.in_loss or len(pictures) != 1:
            unused += 1
            continue
        try:
            ids = words.encode(placeholders.words_only(example.question, example.places), longest)
        except InputError as error:
            file.add(example.line, str(error))
        else:
            rows.append(QuestionRow(example, pictures[0], ids))
    return rows, unused


def _last_pictures(example: Example) -> tuple[str, ...]:
    """List the pictures that were last shown before the question was asked, as in answering."""
    counts = [turn.pictures for turn in example.earlier]
    counts.append(len(example.images) - sum(counts))
    end = len(example.images)
    for count in reversed(counts):
        if count:
            return tuple(map(str, example.images[end - count : end]))
    return ()


def _epochs(
    rows: NDArray[np.int32],
    pictures: NDArray[np.int32],
    settings: QuestionSettings,
    row_questions: int,
) -> NDArray[np.int32]:
    """Order rows for all epochs, or `max_steps`, each epoch anew; `pictures` [R] are all rows'."""
    count = math.ceil(len(rows) * settings.epochs)
    if settings.max_steps is not None:
        count = settings.max_steps * settings.rows_of_step() * row_questions
    orders = [
        shuffled(rows, pictures, np.random.default_rng([settings.seed, epoch]))
        for epoch in range(max(1, math.ceil(count / max(1, len(rows)))))
    ]
    return np.concatenate(orders)[:count]


def shuffled(
    rows: NDArray[np.int32], pictures: NDArray[np.int32], random: np.random.Generator
) -> NDArray[np.int32]:
    """Shuffle the rows, but leave up to `_TOGETHER` about one picture side by side.

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
