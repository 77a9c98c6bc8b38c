"""Answers token by token for a batch whose prompts are in the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vqa.answering import Settings
from vqa.engine.counts import Counts
from vqa.engine.keys_values import KeyValues, Span
from vqa.engine.memory import Prefixes
from vqa.engine.prompt import Prompt
from vqa.engine.sampling import Draw, choose
from vqa.engine.text_model import TextModel


@dataclass
class Row:
    """One answer under way."""

    prompt: Prompt
    limit: int  # new tokens at most
    draw: Draw | None  # None: greedy
    ids: list[int] = field(default_factory=list)  # chosen tokens, an end of turn included
    score: float = 0.0  # sum of the logarithms of their probabilities
    finish: Literal["stop", "length", "cancelled"] | None = None

    @classmethod
    def of(cls, prompt: Prompt, settings: Settings, context: int | None) -> Row:
        """Begin an answer that fits into `context` tokens, its prompt included."""
        limit = settings.max_new_tokens
        if context is not None:
            limit = min(limit, context - len(prompt))
        draw = None
        if settings.temperature > 0:
            draw = Draw.seeded(settings.temperature, settings.top_p, settings.seed)
        return cls(prompt, limit, draw)

    @property
    def probability(self) -> float | None:
        """The product of the chosen tokens' probabilities; None before the first."""
        return math.exp(self.score) if self.ids else None


class Decoding:
    """Runs a batch: `choose`, and `advance` while anything is left to do."""

    def __init__(
        self,
        text: TextModel,
        prefixes: Prefixes,
        counts: Counts,
        filled: tuple[Tensor, KeyValues],
        rows: Sequence[Row],
        ends: frozenset[int],
    ) -> None:
        self._text = text
        self._prefixes = prefixes
        self._counts = counts
        self._ends = ends
        self._rows = list(rows)  # those in the cache, finished ones among them
        self._logits, self._cache = filled

    @property
    def active(self) -> bool:
        """Whether any answer is unfinished."""
        return any(row.finish is None for row in self._rows)

    @torch.inference_mode()
    def choose(self) -> None:
        """Choose the next token of every unfinished answer."""
        draws = [None if row.finish else row.draw for row in self._rows]
        for number, (token, score) in enumerate(zip(*choose(self._logits, draws), strict=True)):
            row = self._rows[number]
            if row.finish is not None:
                continue
            row.ids.append(token)
            row.score += score
            if token in self._ends:
                self._end(number, "stop")
            elif len(row.ids) >= row.limit:
                self._end(number, "length")

    @torch.inference_mode()
    def advance(self) -> None:
        """Run the chosen tokens, for the logits of the next."""
        active = [number for number, row in enumerate(self._rows) if row.finish is None]
        if len(active) <= len(self._rows) // 2:
            self._cache = self._cache.select(active)
            self._rows = [self._rows[number] for number in active]
        ids = torch.tensor([[row.ids[-1]] for row in self._rows])  # [B, 1]
        embeds = self._text.embed(ids)
        self._logits = self._text.forward(embeds, self._cache, [1] * len(self._rows))
        self._counts.decoded_tokens += len(active)

    def cancel(self) -> None:
        """End all unfinished answers."""
        for number, row in enumerate(self._rows):
            if row.finish is None:
                self._end(number, "cancelled")

    def _end(self, number: int, finish: Literal["stop", "length", "cancelled"]) -> None:
        row = self._rows[number]
        row.finish = finish
        # the last token was chosen, but has not run
        identity = np.concatenate([row.prompt.identity, np.array(row.ids[:-1], dtype=np.int64)])
        self._prefixes.add(identity, Span(self._cache, number, len(identity)))
