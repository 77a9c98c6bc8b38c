"""The next token of each sequence: the likeliest, or sampled with the sequence's own seed."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from vqa.answering import SamplingParams
from vqa.errors import NotFiniteError


class TokenChooser(Protocol):
    """Chooses tokens of one sequence otherwise than the likeliest."""

    def choose(self, logits: Tensor) -> int:
        """Choose the next token by its logits [V] float32."""
        ...


@dataclass(frozen=True)
class Sampler:
    """How the tokens of a sequence are sampled; its generator gives one number for each token."""

    temperature: float
    top_p: float
    generator: torch.Generator

    @classmethod
    def of(cls, params: SamplingParams) -> Sampler | None:
        """Seed a sampler, on the CPU: the same on every machine. None at temperature 0: greedy."""
        if not params.temperature:
            return None
        generator = torch.Generator().manual_seed(params.seed % 2**63)
        return cls(params.temperature, params.top_p, generator)

    def choose(self, logits: Tensor) -> int:
        """Sample from the smallest set of likeliest tokens that holds `top_p` of the probability.

        Nucleus sampling after Holtzman et al. 2020 (arXiv:1904.09751). The set is laid out in the
        order of the ids and not of the probabilities: two tokens nearly alike may change places in
        that order with the last digit of a logit, and the same number would select another token.
        """
        logits = logits.cpu().double()  # a Mac's accelerator has no double precision
        # the largest is taken away first: divided by a tiny temperature it would be infinite
        probability = ((logits - logits.max()) / self.temperature).softmax(-1)  # [V]
        if self.top_p < 1:
            ordered, order = probability.sort(descending=True)
            outside = ordered.cumsum(-1) - ordered >= self.top_p  # the likeliest is always inside
            probability[order[outside]] = 0
        limits = probability.cumsum(-1)  # [V]
        number = torch.rand((), dtype=torch.float64, generator=self.generator).item()
        # right: a token of probability 0 ends where the one before it ends, and is passed over
        return int(
            torch.searchsorted(limits, number * limits[-1], right=True).clamp(max=len(limits) - 1)
        )


def sample_tokens(
    logits: Tensor, choosers: Sequence[TokenChooser | None]
) -> tuple[list[int], list[float]]:
    """Choose a token for each row of `logits` [B, V] float32: the likeliest without a chooser.

    Returns the ids and the natural logarithms of their probabilities, before temperature and top-p.
    A logarithm is NaN where the row's logits give no probabilities.
    """
    tokens = logits.argmax(-1)  # [B]
    for row, chooser in enumerate(choosers):
        if chooser is not None:
            tokens[row] = chooser.choose(logits[row])
    return tokens.tolist(), log_probs_of(logits, tokens)


def log_probs_of(logits: Tensor, tokens: Tensor) -> list[float]:
    """Compute the log probabilities of `tokens` [B] by `logits` [B, V] float32.

    Minus infinity for a token that is ruled out, NaN where the logits give no probabilities.
    """
    chosen = logits.gather(1, tokens.to(logits.device)[:, None])[:, 0]  # [B]
    total = logits.logsumexp(-1)  # [B]
    # total - total is NaN where a logit is infinite, which would rule out all other tokens
    log_probs: list[float] = (chosen - total + (total - total)).tolist()
    return log_probs


def completion_limit(params: SamplingParams, prompt_tokens: int, context: int | None) -> int:
    """Limit the tokens of a completion so that it fits into `context` behind its prompt."""
    if context is None:
        return params.max_new_tokens
    return min(params.max_new_tokens, context - prompt_tokens)


@dataclass
class SequenceState:
    """One sequence of a batch while it is decoded."""

    max_new_tokens: int
    chooser: TokenChooser | None = None  # None: greedy
    ids: list[int] = field(default_factory=list)  # of the completion, an end of turn included
    log_probs: list[float] = field(default_factory=list)  # natural logarithms, of each of `ids`
    finish_reason: Literal["stop", "length", "cancelled"] | None = None

    def add(self, token: int, log_prob: float, ends: Container[int]) -> None:
        """Add a token that was chosen; `ends` are those that end a completion.

        Raises NotFiniteError where its logits give no probabilities.
        """
        if math.isnan(log_prob):
            raise NotFiniteError
        self.ids.append(token)
        self.log_probs.append(log_prob)
        if token in ends:
            self.finish_reason = "stop"
        elif len(self.ids) >= self.max_new_tokens:
            self.finish_reason = "length"
