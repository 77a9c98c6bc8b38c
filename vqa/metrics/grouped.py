"""Rows that count together: a group is right where each of its rows is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from vqa.metrics.metric import Array


def groups_of(keys: Sequence[Hashable]) -> list[list[int]]:
    """List the rows of each key, in the order in which the keys first come."""
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        members[key].append(row)
    return list(members.values())


def all_right(groups: Sequence[Sequence[int]], scores: Array) -> Array:
    """Multiply the scores [R] of each group: [R, 2], the product and 1 in its first row."""
    statistics = np.zeros((len(scores), 2))
    for rows in groups:
        statistics[rows[0]] = scores[list(rows)].prod(), 1
    return statistics
