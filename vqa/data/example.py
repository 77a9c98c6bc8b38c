"""One question about pictures, with its answers and what was said before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Turn:
    """An earlier question of a conversation, its answer, and the pictures that came with it."""

    question: str
    answer: str
    pictures: int = 0  # how many of the example's next pictures stand before this question
    learned: bool = True  # whether training learns the answer, or it only stands there


@dataclass(frozen=True)
class Example:
    """A row of data. `id` keeps its JSON type; columns that are not known here stay in `extra`.

    `question` is the last of the conversation; the pictures that `earlier` leaves stand before it.
    """

    id: str | int
    images: tuple[str | Path, ...]  # paths, in the order of the conversation
    question: str
    answers: tuple[str, ...] = ()  # all accepted ones, the one to learn first
    extra: dict[str, Any] = field(default_factory=dict)
    earlier: tuple[Turn, ...] = ()
    system: str = ""  # what the model is told before the conversation
    line: int = field(default=0, compare=False)  # of its file, as in messages about it
