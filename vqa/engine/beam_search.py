"""Decode a batch by beam search: for the likeliest answers, not for the likeliest next tokens.

A beam is the beginning of an answer. At each token the beams of a request are continued; of all
continuations the likeliest are its next beams, or finished answers. The beams of all requests are
rows of one KV cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vqa.engine.decoding import PromptedSequence
from vqa.engine.kv_cache import CachedPrefix, KVCache
from vqa.engine.prefix_cache import PrefixCache
from vqa.engine.stats import EngineStats
from vqa.engine.text_model import TextModel


@dataclass
class _Search:
    """The beams of one request."""

    sequence: PromptedSequence  # gets the best answer at the end
    beams: list[PromptedSequence]  # K, the likeliest first; none once the search has ended
    totals: list[float]  # natural logarithms of the beams' probabilities
    finished: list[PromptedSequence] = field(default_factory=list)  # K at most, the best first


class BeamDecoder:
    """Decodes a batch as `BatchDecoder` does, with `num_beams` beams for each sequence.

    The score of an answer is that of transformers' `generate` with `early_stopping=False`: the sum
    of its tokens' log probabilities, divided by their number, an end of turn included, to the power
    of `length_penalty`. A search ends once `num_beams` answers have finished, and the likeliest
    beam, were it finished here, would have no better score than the worst of them. The answer's
    probability is its own, without the penalty.
    """

    def __init__(
        self,
        text: TextModel,
        prefixes: PrefixCache,
        stats: EngineStats,
        prefilled: tuple[Tensor, KVCache],
        sequences: Sequence[PromptedSequence],
        ends: frozenset[int],
        *,
        num_beams: int,
        length_penalty: float,
    ) -> None:
        self._text = text
        self._stats = stats
        self._ends = ends
        self._width = num_beams
        self._length_penalty = length_penalty
        logits, cache = prefilled
        for row, sequence in enumerate(sequences):
            prompt = sequence.prompt
            prefixes.add(prompt.identity, CachedPrefix(cache, row, len(prompt)))
        # all beams begin alike: only the first of each is continued
        first = [0.0] + [-math.inf] * (num_beams - 1)
        self._searches = [_Search(one, [one] * num_beams, first) for one in sequences]
        self._logits = logits.repeat_interleave(num_beams, 0)  # [B K, V]
        self._cache = cache.select([row for row in range(len(sequences)) for _ in first])

    @property
    def unfinished(self) -> list[PromptedSequence]:
        """Sequences whose searches go on."""
        return [search.sequence for search in self._searches]

    @torch.inference_mode()
    def sample(self) -> list[PromptedSequence]:
        """Continue the beams of every unfinished sequence by a token.

        Returns those whose logits give no probabilities: they end without another token.
        """
        failed: list[PromptedSequence] = []
        parents: list[int] = []  # rows of the cache that the next rows continue
        log_probs = self._logits.log_softmax(-1)  # [B K, V]
        for number, search in enumerate(self._searches):
            first = number * self._width
            rows = log_probs[first : first + self._width]  # [K, V]
            if rows.isnan().any():
                search.sequence.finish_reason = "cancelled"
                search.beams = []
                failed.append(search.sequence)
                continue
            parents += [first + beam for beam in self._extend(search, rows)]
            if not search.beams:
                best = search.finished[0]
                search.sequence.ids, search.sequence.log_probs = best.ids, best.log_probs
                search.sequence.finish_reason = best.finish_reason
        self._searches = [search for search in self._searches if search.beams]
        if len(parents) == len(self._logits):
            self._cache.reorder(parents, min(len(s.prompt) for s in self.unfinished))
        elif parents:
            self._cache = self._cache.select(parents)
        return failed

    @torch.inference_mode()
    def advance(self) -> None:
        """Run the model on the last token of every beam, for the logits of the next."""
        last = [[beam.ids[-1]] for search in self._searches for beam in search.beams]
        embeds = self._text.embed(torch.tensor(last))  # [B K, 1, Dt]
        self._logits = self._text.forward(embeds, self._cache, [1] * len(last))  # [B K, V]
        self._stats.decoded_tokens += len(last)

    def cancel(self) -> None:
        """End all searches with the best answer so far, finished or not."""
        for search in self._searches:
            best = max([*search.finished, *search.beams], key=self._score)
            text = slice(-1 if best.finish_reason == "stop" else None)  # no end of turn
            search.sequence.ids, search.sequence.log_probs = best.ids[text], best.log_probs[text]
            search.sequence.finish_reason = "cancelled"
        self._searches = []

    def _extend(self, search: _Search, log_probs: Tensor) -> list[int]:
        """Replace the beams by their likeliest continuations, with log probabilities [K, V].

        Returns which beam each of the new ones continues, nothing where the search has ended.
        """
        so_far = log_probs.new_tensor(search.totals)[:, None]  # [K, 1]
        # a beam may end by each of the ends: so many leave K that go on
        most = self._width * max(2, 1 + len(self._ends))
        totals, indices = (so_far + log_probs).flatten().topk(most)  # [most], of [K V]
        chosen = log_probs.flatten()[indices].tolist()
        before, search.beams, search.totals = search.beams, [], []
        parents: list[int] = []
        for rank, (total, index, log_prob) in enumerate(
            zip(totals.tolist(), indices.tolist(), chosen, strict=True)
        ):
            parent, token = divmod(index, log_probs.shape[1])
            old = before[parent]
            beam = replace(old, ids=[*old.ids, token], log_probs=[*old.log_probs, log_prob])
            if token in self._ends:
                beam.finish_reason = "stop"
            elif len(beam.ids) >= beam.max_new_tokens:
                beam.finish_reason = "length"
            if beam.finish_reason is None and len(search.beams) < self._width:
                search.beams.append(beam)
                search.totals.append(total)
                parents.append(parent)
            elif beam.finish_reason is not None and rank < self._width:
                search.finished.append(beam)
        search.finished = sorted(search.finished, key=self._score, reverse=True)[: self._width]
        enough = len(search.finished) == self._width and search.beams
        if enough and self._score(search.beams[0]) <= self._score(search.finished[-1]):
            search.beams = []
        return parents if search.beams else []

    def _score(self, beam: PromptedSequence) -> float:
        return math.fsum(beam.log_probs) / len(beam.ids) ** self._length_penalty
