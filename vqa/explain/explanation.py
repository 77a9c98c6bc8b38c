"""What an explanation is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vqa.explain.faithfulness import Scores
from vqa.explain.regions import Map

By = Literal["attention", "occlusion"]


@dataclass(frozen=True)
class Explanation:
    """Where an answerer looked for an answer: a map for each picture of the conversation."""

    by: By
    answer: str
    maps: tuple[Map, ...]
    scores: Scores | None  # None: the answerer cannot tell how likely an answer is

    @property
    def warning(self) -> str | None:
        """What to say of maps that tell nothing."""
        if not any(one.values.any() for one in self.maps):
            return "This map explains nothing: no part of the picture makes the answer likelier."
        if self.scores is None or self.scores.tells_something:
            return None
        return "This map explains nothing: it is no better than random maps."
