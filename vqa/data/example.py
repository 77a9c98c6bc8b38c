"""One question about pictures, with its answers and the turns before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Columns = dict[str, Any]  # of a row: the names that are known here, and others
PLACES = "image_places"
REJECTED = "rejected"  # column of the answer that is worse than the first accepted one
KNOWN = frozenset(
    {
        "id", "image", "images", "question", "answer", "answers", "earlier", "system", "learned",
        PLACES,
    }
)  # fmt: skip


@dataclass(frozen=True)
class EarlierTurn:
    """An earlier question of a conversation, its answer, and the pictures that came with it."""

    question: str
    answer: str
    pictures: int = 0  # how many of the example's next pictures come with this question
    in_loss: bool = True  # whether training computes a loss on the answer
    places: tuple[int, ...] = ()  # where the last of them stand in the question


@dataclass(frozen=True)
class Example:
    """A row of data. `id` keeps its JSON type; columns that are not known here stay in `extra`.

    `question` is the last of the conversation; the pictures that `earlier` leaves come with it.
    Pictures stand before their question, but for those that have `places` in it: characters at
    which an `<image>` begins that stands for the picture (see `vqa.inputs.placeholders`).
    """

    id: str | int
    images: tuple[str | Path, ...]  # paths, in the order of the conversation
    question: str
    answers: tuple[str, ...] = ()  # all accepted ones, the one to train on first
    extra: dict[str, Any] = field(default_factory=dict)
    earlier: tuple[EarlierTurn, ...] = ()
    system: str = ""  # the system prompt
    line: int = field(default=0, compare=False)  # of its file, as in messages about it
    in_loss: bool = True  # the same of the last answer
    places: tuple[int, ...] = ()  # where the last pictures stand in `question`


def fold(text: str) -> str:
    """Fold what does not tell two answers apart: case, white space and marks at the end."""
    folded = " ".join(text.casefold().split())
    return folded.rstrip(".?! ") or folded
