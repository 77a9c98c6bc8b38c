"""One batch inside transformers' `generate`: who chooses its tokens, and where they go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from vqa.answering import SamplingParams
from vqa.engine.completion import Timer
from vqa.engine.sampling import SequenceState, sample_tokens
from vqa.errors import NotFiniteError
from vqa.inputs.processor_inputs import ModelInputs


@dataclass
class Batch:
    """Requests that are answered together, and how far each answer is."""

    inputs: ModelInputs
    hints: list[tuple[str, ...]]
    image_tokens: list[int]
    sequences: list[SequenceState]
    timer: Timer
    search: tuple[int, float, int] | None = None  # how beams are searched; None: no beams


def search_of(settings: SamplingParams) -> tuple[int, float, int] | None:
    """Return beams, length penalty and tokens of a beam search; None where there is none."""
    if settings.num_beams == 1:
        return None
    return settings.num_beams, settings.length_penalty, settings.max_new_tokens


@dataclass
class GivenTokens:
    """Chooses the tokens of a given completion, one after the other."""

    ids: Sequence[int]
    next: int = 0

    def choose(self, logits: Tensor) -> int:
        """Choose the next one, whatever the logits [V] are."""
        self.next += 1
        return self.ids[self.next - 1]


class TokenChoices:
    """Chooses the tokens of a batch inside `generate`, and tells it which sequences have ended."""

    settings: dict[str, Any] = {}  # of `generate`

    def __init__(
        self,
        batch: Batch,
        ends: frozenset[int],
        pad: int,
        cancelled: Callable[[], bool],
        on_token: Callable[[], None],
    ) -> None:
        self._batch = batch
        self.end_ids = ends
        self._pad = pad
        self._cancelled = cancelled
        self._on_token = on_token

    def choose(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Leave one token in the scores [B, V] of each row: as a logits processor does."""
        batch = self._batch
        choosers = [None if s.finish_reason else s.chooser for s in batch.sequences]
        tokens, log_probs = sample_tokens(scores.float(), choosers)
        for row, sequence in enumerate(batch.sequences):
            if sequence.finish_reason is None:
                sequence.add(tokens[row], log_probs[row], self.end_ids)
            else:
                tokens[row] = self._pad
        self._note_first_token()
        self._on_token()
        rows = torch.arange(len(tokens), device=scores.device)
        chosen = torch.full_like(scores, -torch.inf)
        chosen[rows, torch.tensor(tokens, device=scores.device)] = 0
        return chosen

    def finished(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Return which rows [B] have ended: as a stopping criterion does."""
        self.cancel()
        ended = [s.finish_reason is not None for s in self._batch.sequences]
        return torch.tensor(ended, device=input_ids.device)

    def cancel(self) -> bool:
        """End all sequences where that is wanted."""
        if not self._cancelled():
            return False
        for sequence in self._batch.sequences:
            sequence.finish_reason = sequence.finish_reason or "cancelled"
        return True

    def take(self, output: Any) -> None:
        """Take nothing of what `generate` returns: all tokens were chosen here."""

    def _note_first_token(self) -> None:
        timer = self._batch.timer
        timer.first_token = timer.first_token or perf_counter() - timer.began


class BeamChoices(TokenChoices):
    """Lets `generate` search with beams, and takes the best completion of each sequence."""

    @property
    def settings(self) -> dict[str, Any]:  # type: ignore[override]
        """How `generate` searches."""
        assert self._batch.search is not None
        num_beams, length_penalty, _ = self._batch.search
        return {"num_beams": num_beams, "length_penalty": length_penalty}

    def choose(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Leave the log probabilities [B K, V] as they are. Raises NotFiniteError for NaN."""
        if scores.isnan().any():
            raise NotFiniteError
        self._note_first_token()
        return scores

    def finished(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """End all beams [B K] once that is wanted."""
        return torch.full((len(input_ids),), self._cancelled(), device=input_ids.device)

    def take(self, output: Any) -> None:
        """Take the best completions [B, prompt and N], which are filled up behind their ends."""
        begin = self._batch.inputs.tensors["input_ids"].shape[1]
        rows = output[:, begin:].tolist()
        for sequence, ids in zip(self._batch.sequences, rows, strict=True):
            end = next((at for at, token in enumerate(ids) if token in self.end_ids), None)
            sequence.ids = ids if end is None else ids[: end + 1]
            full = len(sequence.ids) >= sequence.max_new_tokens
            sequence.finish_reason = (
                "stop" if end is not None else "length" if full else "cancelled"
            )
