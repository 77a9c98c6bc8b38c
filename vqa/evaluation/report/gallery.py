"""Wrong answers with their pictures: a bounded choice, grouped by likely cause."""

from __future__ import annotations

import base64
import io
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.predictions import Prediction, RowId
from vqa.evaluation.report.causes import CAUSES

Wrong = Mapping[int, str]  # index of a wrong row -> likely cause
Changes = tuple[set[RowId], set[RowId]]  # ids that a model fixed and broke

MOST_CARDS = 150
_SIDE = 320  # pixels of the longer side: sharp on a dense screen at about 240
_MOST_BYTES = 6_000_000  # of all pictures as text
_MOST_PICTURES = 4  # of a row
_MOST_TEXT = 600  # characters of a question or a prediction
_MOST_ANSWERS = 8


class ModelAnswer(NamedTuple):
    """A model's answer to a row."""

    text: str | None  # None where there is none; then `error` is why
    error: str
    score: float
    probability: float | None
    cause: str | None  # None: it counts as right


@dataclass(frozen=True)
class Card:
    """A row that at least one model got wrong."""

    id: RowId
    question: str
    answers: tuple[tuple[str, int], ...]  # and how many gave it
    answers_left_out: int
    pictures: tuple[str, ...]  # data URIs
    no_picture: str  # why not all pictures can be shown
    predictions: tuple[ModelAnswer, ...]  # by each model
    cause: str  # of the first model that is wrong
    changes: tuple[tuple[str, int], ...]  # ("fixed" or "broke", which model)

    @property
    def causes(self) -> tuple[str, ...]:
        """Return those of all models that are wrong."""
        return tuple(dict.fromkeys(answer.cause for answer in self.predictions if answer.cause))


@dataclass(frozen=True)
class CauseGroup:
    """The cards of one cause."""

    cause: str
    count: int  # wrong rows of this cause, shown or not
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Gallery:
    """All groups, in the order of `CAUSES`; without those that have no cards."""

    groups: tuple[CauseGroup, ...]
    count: int  # rows that at least one model got wrong

    @property
    def card_count(self) -> int:
        """Return the number of cards."""
        return sum(len(group.cards) for group in self.groups)

    @property
    def causes(self) -> dict[str, int]:
        """Count the cards on which some model has each cause, in the order of `CAUSES`."""
        counts = Counter(
            name for group in self.groups for card in group.cards for name in card.causes
        )
        return {name: counts[name] for name in CAUSES if counts[name]}


def build_gallery(
    rows: Sequence[Example],
    predictions: Sequence[Mapping[RowId, Prediction]],
    scores: Sequence[Sequence[float]],
    wrong: Sequence[Wrong],
    changes: Sequence[Changes],
    images: Path,
) -> Gallery:
    """Choose the cards and draw their pictures.

    `predictions`, `scores` [R] and `wrong` rows are those of each model; `changes` those of all
    models but the first. The causes take turns, and the kinds of change within them, so that none
    is crowded out; what a model was surest of comes first.
    """
    causes: dict[int, str] = {}  # of each wrong row, in the order of the data
    for index in range(len(rows)):
        cause = next((part[index] for part in wrong if index in part), None)
        if cause is not None:
            causes[index] = cause

    def changed(index: int) -> tuple[tuple[str, int], ...]:
        key = rows[index].id
        return tuple(
            (what, model)
            for model, parts in enumerate(changes, start=1)
            for what, keys in zip(("fixed", "broke"), parts, strict=True)
            if key in keys
        )

    def answers(index: int) -> tuple[ModelAnswer, ...]:
        return tuple(
            _model_answer(by_id.get(rows[index].id), score[index], part.get(index))
            for by_id, score, part in zip(predictions, scores, wrong, strict=True)
        )

    def surest(index: int) -> float:
        return max((a.probability or 0.0 for a in answers(index) if a.cause), default=0.0)

    buckets: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, name in causes.items():
        buckets[name, changed(index)].append(index)
    for bucket in buckets.values():
        bucket.sort(key=surest, reverse=True)
    chosen = _by_turns(list(buckets.values()), MOST_CARDS)
    pictures = _Thumbnails(images)
    cards = [
        _card(rows[index], answers(index), causes[index], changed(index), pictures)
        for index in chosen
    ]
    counts = Counter(causes.values())
    groups = (
        CauseGroup(name, counts[name], tuple(card for card in cards if card.cause == name))
        for name in CAUSES
    )
    return Gallery(tuple(group for group in groups if group.cards), len(causes))


def _by_turns(buckets: Sequence[Sequence[int]], most: int) -> list[int]:
    """Take of each bucket in turn its next, until there are `most`."""
    waiting = deque(deque(bucket) for bucket in buckets)
    chosen: list[int] = []
    while waiting and len(chosen) < most:
        bucket = waiting.popleft()
        chosen.append(bucket.popleft())
        if bucket:
            waiting.append(bucket)
    return chosen


def _model_answer(prediction: Prediction | None, score: float, cause: str | None) -> ModelAnswer:
    if prediction is None:
        return ModelAnswer(None, "no prediction", score, None, cause)
    if prediction.text is None:
        return ModelAnswer(None, shorten(prediction.error or "failed"), score, None, cause)
    return ModelAnswer(shorten(prediction.text), "", score, prediction.probability, cause)


def _card(
    row: Example,
    predictions: tuple[ModelAnswer, ...],
    cause: str,
    changes: tuple[tuple[str, int], ...],
    pictures: _Thumbnails,
) -> Card:
    uris, reasons = [], []
    for name in row.images[:_MOST_PICTURES]:
        uri, reason = pictures.of(str(name))
        uris.append(uri) if uri else reasons.append(reason)
    if len(row.images) > _MOST_PICTURES:
        reasons.append(f"{len(row.images) - _MOST_PICTURES} more pictures")
    answers = Counter(row.answers).most_common()
    return Card(
        row.id,
        shorten(row.question),
        tuple((shorten(text), count) for text, count in answers[:_MOST_ANSWERS]),
        max(0, len(answers) - _MOST_ANSWERS),
        tuple(uris),
        "; ".join(dict.fromkeys(reasons)) or ("" if row.images else "no picture in the data"),
        predictions,
        cause,
        changes,
    )


def shorten(text: str) -> str:
    """Shorten a text to at most 600 characters."""
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"


class _Thumbnails:
    """Small JPEG pictures as data URIs, until there are too many bytes of them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drawn: dict[str, tuple[str, str]] = {}
        self._bytes = 0

    def of(self, name: str) -> tuple[str, str]:
        """Return the picture, or an empty text and why there is none."""
        if self._bytes >= _MOST_BYTES:
            return "", "left out to keep the file small"
        if name not in self._drawn:
            try:
                self._drawn[name] = self._draw(name), ""
            except InputError as error:
                self._drawn[name] = "", shorten(str(error).replace(str(self._root / name), name))
        uri, reason = self._drawn[name]
        self._bytes += len(uri)  # each card has a copy
        return uri, reason

    def _draw(self, name: str) -> str:
        from PIL import Image

        from vqa.data.embedded_pictures import picture_store
        from vqa.inputs.images import load_image

        path = self._root / name
        try:
            roots = (self._root.resolve(), picture_store())  # or taken out of the data file
            inside = any(map(path.resolve().is_relative_to, roots))
        except (OSError, RuntimeError, ValueError):
            inside = False
        if not inside:
            raise InputError(f"{name} is outside of the pictures' folder")
        picture = load_image(path)
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=74, optimize=True)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
