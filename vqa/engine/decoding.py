"""Decode a batch token by token, once its prompts are in the cache."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vqa.engine.kv_cache import CachedPrefix, KVCache
from vqa.engine.prefix_cache import PrefixCache
from vqa.engine.prompt import Prompt
from vqa.engine.sampling import SequenceState, sample_tokens
from vqa.engine.stats import EngineStats
from vqa.engine.text_model import TextModel
from vqa.errors import NotFiniteError


@dataclass
class PromptedSequence(SequenceState):
    """A sequence that the own engine decodes, with the prompt that it goes on from."""

    prompt: Prompt = field(kw_only=True)


class BatchDecoder:
    """Decodes a batch: `sample`, then `advance` and `sample` while any sequence is unfinished."""

    def __init__(
        self,
        text: TextModel,
        prefixes: PrefixCache,
        stats: EngineStats,
        prefilled: tuple[Tensor, KVCache],
        sequences: Sequence[PromptedSequence],
        ends: frozenset[int],
    ) -> None:
        self._text = text
        self._prefixes = prefixes
        self._stats = stats
        self._ends = ends
        self._sequences = list(sequences)  # the rows of the cache, finished ones among them
        self._logits, self._cache = prefilled

    @property
    def unfinished(self) -> list[int]:
        """Rows of the cache whose sequences go on."""
        return [
            row for row, sequence in enumerate(self._sequences) if sequence.finish_reason is None
        ]

    @torch.inference_mode()
    def sample(self) -> list[PromptedSequence]:
        """Choose the next token of every unfinished sequence.

        Returns those whose logits give no probabilities: they end without another token.
        """
        failed: list[PromptedSequence] = []
        choosers = [None if s.finish_reason else s.chooser for s in self._sequences]
        tokens, log_probs = sample_tokens(self._logits, choosers)
        for row in self.unfinished:
            sequence = self._sequences[row]
            try:
                sequence.add(tokens[row], log_probs[row], self._ends)
            except NotFiniteError:
                sequence.finish_reason = "cancelled"
                failed.append(sequence)
                continue
            if sequence.finish_reason:
                self._cache_prefix(row)
        return failed

    @torch.inference_mode()
    def advance(self) -> None:
        """Run the model on the chosen tokens, for the logits of the next."""
        rows = self.unfinished
        if len(rows) <= len(self._sequences) // 2:
            self._cache = self._cache.select(rows)
            self._sequences = [self._sequences[row] for row in rows]
        ids = torch.tensor([[sequence.ids[-1]] for sequence in self._sequences])  # [B, 1]
        embeds = self._text.embed(ids)
        self._logits = self._text.forward(embeds, self._cache, [1] * len(self._sequences))
        self._stats.decoded_tokens += len(rows)

    def absorb(self, other: BatchDecoder) -> None:
        """Take over the unfinished sequences of another batch.

        Both are between `sample` and `advance`: each sequence has chosen a token that has not run.
        """
        rows = [(batch, row) for batch in (self, other) for row in batch.unfinished]
        rows.sort(key=lambda place: place[0]._cache.lengths[place[1]])  # equal ones run together
        prefixes = [
            CachedPrefix(batch._cache, row, batch._cache.lengths[row]) for batch, row in rows
        ]
        self._sequences = [batch._sequences[row] for batch, row in rows]
        self._cache = KVCache.of_prefixes(len(self._cache.layers), prefixes)

    def cancel(self, sequences: Collection[PromptedSequence] | None = None) -> None:
        """End unfinished sequences: these, or all."""
        for row in self.unfinished:
            if sequences is None or any(self._sequences[row] is one for one in sequences):
                self._sequences[row].finish_reason = "cancelled"
                self._cache_prefix(row)

    def _cache_prefix(self, row: int) -> None:
        # the last token was chosen, but has not run
        sequence = self._sequences[row]
        new = np.array(sequence.ids[:-1], dtype=np.int64)
        identity = np.concatenate([sequence.prompt.identity, new])
        self._prefixes.add(identity, CachedPrefix(self._cache, row, len(identity)))
