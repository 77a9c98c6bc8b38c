"""What a history returns: turns, their pictures, and conversations in a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vqa.errors import InputError
from vqa.inputs.boxes import Box

State = Literal["running", "done", "stopped", "failed", "note"]


class NotFoundError(InputError):
    """A conversation, turn or run that does not exist, or belongs to somebody else."""


@dataclass(frozen=True)
class Mark:
    """The part of a picture that a question is about.

    `alone`: the model is given neither the rest of the picture nor what was asked before.
    """

    box: Box
    alone: bool


@dataclass(frozen=True)
class StoredPicture:
    """A picture of a turn. Its bytes lie, as they came, in the file `path`."""

    name: str
    path: Path
    mark: Mark | None = None


class NewPicture(NamedTuple):
    """A picture that comes with a question: its name, and its bytes as they came."""

    name: str
    content: bytes
    mark: Mark | None = None


@dataclass(frozen=True)
class Turn:
    """A stored question or answer, and how it was judged."""

    id: str
    conversation: str
    parent: str | None
    role: Literal["user", "assistant"]
    text: str
    state: State = "done"
    pictures: tuple[StoredPicture, ...] = ()
    model: str = ""  # of an answer
    about: dict[str, Any] = field(default_factory=dict)  # of an answer: tokens, times, probability
    notice: str = ""  # why there is no answer
    rating: int = 0  # 1 for a thumb up, -1 for down
    correction: str = ""
    created: datetime = datetime.min
    judged: datetime | None = None  # when a rating or correction was given last
    better_than: str | None = None  # id of the answer that it was preferred to
    siblings: tuple[str, ...] = ()  # all that answer or continue the same, oldest first, itself too


@dataclass(frozen=True)
class Summary:
    """A conversation as a list shows it."""

    id: str
    title: str
    changed: datetime
    pinned: bool = False
    picture: StoredPicture | None = None  # the first one
    place: str = ""  # what stands around the words that were looked for


def model_parts(mark: Mark | None) -> tuple[Box | None, ...]:
    """List what the model is given of a picture: all of it (None), the marked part, or both."""
    if mark is None:
        return (None,)
    return (mark.box,) if mark.alone else (None, mark.box)


def model_turns(branch: Sequence[Turn]) -> Sequence[Turn]:
    """List what the model is given of a branch that ends with a question."""
    last = branch[-1:]
    alone = any(one.mark and one.mark.alone for turn in last for one in turn.pictures)
    return last if alone else branch
