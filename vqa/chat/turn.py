"""What the history gives back: turns, their pictures, and conversations in a list."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from vqa.errors import InputError

State = Literal["running", "done", "stopped", "failed", "note"]


class NotThere(InputError):
    """A conversation or turn that does not exist, or belongs to somebody else."""


@dataclass(frozen=True)
class Picture:
    """A picture of a turn. Its bytes lie, as they came, in the file `path`."""

    name: str
    path: Path


@dataclass(frozen=True)
class Turn:
    """A question or an answer that is kept, with what people said of it."""

    id: str
    conversation: str
    parent: str | None
    role: Literal["user", "assistant"]
    text: str
    state: State = "done"
    pictures: tuple[Picture, ...] = ()
    model: str = ""  # of an answer
    about: dict[str, Any] = field(default_factory=dict)  # of an answer: tokens, times, probability
    notice: str = ""  # why there is no answer
    rating: int = 0  # 1 for a thumb up, -1 for down
    correction: str = ""
    created: datetime = datetime.min
    judged: datetime | None = None  # when a rating or correction was given last
    siblings: tuple[str, ...] = ()  # all that answer or continue the same, oldest first, itself too


@dataclass(frozen=True)
class Summary:
    """A conversation in a list."""

    id: str
    title: str
    changed: datetime
