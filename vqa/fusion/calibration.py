"""The temperature under which a classifier's probability is the chance that its answer is right."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST, _MOST, _STEPS = 0.1, 10.0, 400


def fit_temperature(logits: Tensor, right: Tensor) -> float:
    """What to divide logits [R, A] by, from whether each row's likeliest answer is `right` [R].

    Temperature scaling (Guo et al. 2017, arXiv:1706.04599), with one difference: the likelihood is
    that of right or wrong and not of the true class. Rows whose true answer is no class at all
    count too, so the probability covers them. `right` is 0 to 1, drawn in a little as Platt (1999)
    does, as if one more row were right and one more wrong: few rows, all right, prove no certainty.
    """
    logits, right = logits.double(), right.double()
    hits, misses = right.sum(), (1 - right).sum()
    right = right * (hits + 1) / (hits + 2) + (1 - right) / (misses + 2)
    tried = torch.logspace(_log(_LEAST), _log(_MOST), _STEPS, dtype=torch.float64)
    losses = torch.stack([_loss(logits / one, right) for one in tried])  # [steps]
    return float(tried[int(losses.argmin())])


def _loss(logits: Tensor, right: Tensor) -> Tensor:
    top = logits.softmax(-1).max(-1).values.clamp(1e-9, 1 - 1e-9)  # [R]
    return F.binary_cross_entropy(top, right)


def _log(value: float) -> float:
    return float(torch.tensor(value).log10())
