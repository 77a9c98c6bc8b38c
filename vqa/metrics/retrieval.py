"""Retrieval by rank: recall at k (Hodosh et al. 2013).

These are functions and no metric of `vqa score`: a rank comes from comparing each query with all
candidates, not from a row's prediction and answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vqa.errors import InputError


def ranks(scores: ArrayLike, right: ArrayLike) -> NDArray[np.int64]:
    """The rank [Q] of each query's best right candidate, by scores and right ones, both [Q, C].

    Of equal scores the right one comes last: who says the same of all candidates knows nothing.
    Every query needs a right candidate.
    """
    values, own = np.asarray(scores), np.asarray(right, dtype=np.bool_)
    best = np.where(own, values, -np.inf).max(1, keepdims=True)  # [Q, 1]
    return 1 + ((values >= best) & ~own).sum(1)


def recall_at(ranks: ArrayLike, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """The share of queries whose best right candidate is among the first k, as `recall_at_K`.

    ranks [Q]: 1 for the first place. Raises InputError without ranks or for one below 1.
    """
    found = _checked(ranks)
    return {f"recall_at_{k}": float((found <= k).mean()) for k in ks}


def _checked(ranks: ArrayLike) -> np.ndarray:
    found = np.asarray(ranks, dtype=np.float64).reshape(-1)  # [Q]
    if not found.size or not (found >= 1).all():
        raise InputError("retrieval: needs at least one rank, and ranks count from 1")
    return found
