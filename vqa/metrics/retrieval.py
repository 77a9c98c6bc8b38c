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
    """Compute the rank [Q] of each query's best right candidate, by scores and right, both [Q, C].

    Of equal scores the right one comes last: equal scores for all candidates tell nothing.
    Every query needs a right candidate.
    """
    values, is_right = np.asarray(scores), np.asarray(right, dtype=np.bool_)
    best = np.where(is_right, values, -np.inf).max(1, keepdims=True)  # [Q, 1]
    return 1 + ((values >= best) & ~is_right).sum(1)


def recall_at(ranks: ArrayLike, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Compute the share of queries with a right candidate among the first k, as `recall_at_K`.

    ranks [Q]: 1 for the first place. Raises InputError without ranks or for one below 1.
    """
    checked = _checked(ranks)
    return {f"recall_at_{k}": float((checked <= k).mean()) for k in ks}


def _checked(ranks: ArrayLike) -> np.ndarray:
    checked = np.asarray(ranks, dtype=np.float64).reshape(-1)  # [Q]
    if not checked.size or not (checked >= 1).all():
        raise InputError("retrieval: needs at least one rank, and ranks count from 1")
    return checked
