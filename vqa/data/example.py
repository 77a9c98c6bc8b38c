"""One question about pictures, with its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Example:
    """A row of data. `id` keeps its JSON type; columns that are not known here stay in `extra`."""

    id: str | int
    images: tuple[str | Path, ...]  # paths; the pictures stand before the question
    question: str
    answers: tuple[str, ...] = ()  # all accepted ones, the one to learn first
    extra: dict[str, Any] = field(default_factory=dict)
