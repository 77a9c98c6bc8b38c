"""Errors with their pictures: a bounded choice, grouped by likely cause."""

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
from vqa.evaluation.report.causes import CAUSES
from vqa.evaluation.score import Key, Prediction

Wrong = Mapping[int, str]  # place of a wrong row -> likely cause
Changes = tuple[set[Key], set[Key]]  # ids that a model fixed and broke

MOST_CARDS = 150
_SIDE = 320  # pixels of the longer side: sharp on a dense screen at about 240
_MOST_BYTES = 6_000_000  # of all pictures as text
_MOST_PICTURES = 4  # of a row
_MOST_TEXT = 600  # characters of a question or a prediction
_MOST_ANSWERS = 8


class Said(NamedTuple):
    """A model's answer to a row."""

    text: str | None  # None where there is none; then `error` tells why
    error: str
    score: float
    probability: float | None
    cause: str | None  # None: it counts as right


@dataclass(frozen=True)
class Card:
    """A row that at least one model got wrong."""

    id: Key
    question: str
    answers: tuple[tuple[str, int], ...]  # and how many gave it
    answers_left_out: int
    pictures: tuple[str, ...]  # data URIs
    no_picture: str  # why not all pictures are there
    said: tuple[Said, ...]  # by each model
    cause: str  # of the first model that is wrong
    changes: tuple[tuple[str, int], ...]  # ("fixed" or "broke", which model)

    @property
    def causes(self) -> tuple[str, ...]:
        """Those of all models that are wrong."""
        return tuple(dict.fromkeys(said.cause for said in self.said if said.cause))


@dataclass(frozen=True)
class Group:
    """The cards of one cause."""

    cause: str
    count: int  # wrong rows of this cause, shown or not
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Gallery:
    """All groups, in the order of `CAUSES`; without those that have no cards."""

    groups: tuple[Group, ...]
    count: int  # rows that at least one model got wrong

    @property
    def shown(self) -> int:
        """The number of cards."""
        return sum(len(group.cards) for group in self.groups)

    @property
    def causes(self) -> dict[str, int]:
        """The number of cards on which some model has each cause, in the order of `CAUSES`."""
        counts = Counter(
            name for group in self.groups for card in group.cards for name in card.causes
        )
        return {name: counts[name] for name in CAUSES if counts[name]}


def gallery(
    rows: Sequence[Example],
    predictions: Sequence[Mapping[Key, Prediction]],
    scores: Sequence[Sequence[float]],
    wrong: Sequence[Wrong],
    changes: Sequence[Changes],
    images: Path,
) -> Gallery:
    """Choose and draw the cards.

    Of each model there are its `predictions`, `scores` [R] and `wrong` rows; `changes` are those of
    all models but the first. The causes take turns, and the kinds of change within them, so that
    none is crowded out; what a model was surest of comes first.
    """
    causes: dict[int, str] = {}  # of each wrong row, in the order of the data
    for place in range(len(rows)):
        found = next((part[place] for part in wrong if place in part), None)
        if found is not None:
            causes[place] = found

    def changed(place: int) -> tuple[tuple[str, int], ...]:
        key = rows[place].id
        return tuple(
            (what, model)
            for model, parts in enumerate(changes, start=1)
            for what, keys in zip(("fixed", "broke"), parts, strict=True)
            if key in keys
        )

    def said(place: int) -> tuple[Said, ...]:
        return tuple(
            _said(found.get(rows[place].id), score[place], part.get(place))
            for found, score, part in zip(predictions, scores, wrong, strict=True)
        )

    def surest(place: int) -> float:
        return max((s.probability or 0.0 for s in said(place) if s.cause), default=0.0)

    buckets: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, name in causes.items():
        buckets[name, changed(place)].append(place)
    for bucket in buckets.values():
        bucket.sort(key=surest, reverse=True)
    chosen = _by_turns(list(buckets.values()), MOST_CARDS)
    pictures = _Thumbnails(images)
    cards = [
        _card(rows[place], said(place), causes[place], changed(place), pictures) for place in chosen
    ]
    counts = Counter(causes.values())
    groups = (
        Group(name, counts[name], tuple(card for card in cards if card.cause == name))
        for name in CAUSES
    )
    return Gallery(tuple(group for group in groups if group.cards), len(causes))


def _by_turns(buckets: Sequence[Sequence[int]], most: int) -> list[int]:
    """Of each bucket in turn its next, until there are `most`."""
    waiting = deque(deque(bucket) for bucket in buckets)
    chosen: list[int] = []
    while waiting and len(chosen) < most:
        bucket = waiting.popleft()
        chosen.append(bucket.popleft())
        if bucket:
            waiting.append(bucket)
    return chosen


def _said(found: Prediction | None, score: float, cause: str | None) -> Said:
    if found is None:
        return Said(None, "no prediction", score, None, cause)
    if found.text is None:
        return Said(None, shorten(found.error or "failed"), score, None, cause)
    return Said(shorten(found.text), "", score, found.probability, cause)


def _card(
    row: Example,
    said: tuple[Said, ...],
    cause: str,
    changes: tuple[tuple[str, int], ...],
    pictures: _Thumbnails,
) -> Card:
    found, reasons = [], []
    for name in row.images[:_MOST_PICTURES]:
        uri, reason = pictures.of(str(name))
        found.append(uri) if uri else reasons.append(reason)
    if len(row.images) > _MOST_PICTURES:
        reasons.append(f"{len(row.images) - _MOST_PICTURES} more pictures")
    answers = Counter(row.answers).most_common()
    return Card(
        row.id,
        shorten(row.question),
        tuple((shorten(text), count) for text, count in answers[:_MOST_ANSWERS]),
        max(0, len(answers) - _MOST_ANSWERS),
        tuple(found),
        "; ".join(dict.fromkeys(reasons)) or ("" if row.images else "no picture in the data"),
        said,
        cause,
        changes,
    )


def shorten(text: str) -> str:
    """A text of at most 600 characters."""
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"


class _Thumbnails:
    """Small JPEG pictures as data URIs, until there are too many bytes of them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[str, str]] = {}
        self._bytes = 0

    def of(self, name: str) -> tuple[str, str]:
        """The picture, or an empty text and why there is none."""
        if self._bytes >= _MOST_BYTES:
            return "", "left out to keep the file small"
        if name not in self._known:
            try:
                self._known[name] = self._drawn(name), ""
            except InputError as error:
                self._known[name] = "", shorten(str(error).replace(str(self._root / name), name))
        uri, reason = self._known[name]
        self._bytes += len(uri)  # each card holds its own copy
        return uri, reason

    def _drawn(self, name: str) -> str:
        from PIL import Image

        from vqa.data.stored import stored_directory
        from vqa.images import load_image

        path = self._root / name
        try:
            roots = (self._root.resolve(), stored_directory())  # or taken out of the data file
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
