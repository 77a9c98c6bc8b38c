"""The next token of each row: the likeliest, or drawn with the row's own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """How a row's tokens are drawn; its generator gives one number for each token."""

    temperature: float
    top_p: float
    generator: torch.Generator

    @classmethod
    def seeded(cls, temperature: float, top_p: float, seed: int) -> Draw:
        """Start the sequence of `seed`. It lies on the CPU: the same on every machine."""
        return cls(temperature, top_p, torch.Generator().manual_seed(seed % 2**63))


def choose(logits: Tensor, draws: Sequence[Draw | None]) -> tuple[list[int], list[float]]:
    """Choose a token for each row of `logits` [B, V] float32, greedily where `draws` holds None.

    Returns the ids and the natural logarithms of their probabilities, before temperature and top-p.
    """
    chosen = logits.argmax(-1)  # [B]
    for row, draw in enumerate(draws):
        if draw is not None:
            chosen[row] = _drawn(logits[row], draw)
    score = logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(-1)  # [B]
    return chosen.tolist(), score.tolist()


def _drawn(logits: Tensor, draw: Draw) -> int:
    """Draw from the smallest set of likeliest tokens that holds `top_p` of the probability.

    Nucleus sampling after Holtzman et al. 2020 (arXiv:1904.09751). The set is laid out in the order
    of the ids and not of the probabilities: two tokens nearly alike may change places in that order
    with the last digit of a logit, and the same number would draw another token.
    """
    logits = logits.cpu().double()  # a Mac's accelerator has no double precision
    # the largest is taken away first: divided by a tiny temperature it would be infinite
    probability = ((logits - logits.max()) / draw.temperature).softmax(-1)  # [V]
    if draw.top_p < 1:
        ordered, order = probability.sort(descending=True)
        outside = ordered.cumsum(-1) - ordered >= draw.top_p  # the likeliest is always inside
        probability[order[outside]] = 0
    limits = probability.cumsum(-1)  # [V]
    number = torch.rand((), dtype=torch.float64, generator=draw.generator).item()
    # right: a token of probability 0 ends where the one before it ends, and is passed over
    return int(
        torch.searchsorted(limits, number * limits[-1], right=True).clamp(max=len(limits) - 1)
    )
