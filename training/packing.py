"""Pack questions into rows of tokens: one picture's questions share its image tokens.

A row holds several groups; a group is the prompt up to its pictures (the prefix) followed by one
branch for each question and answer. Every branch sees the prefix and itself, nothing else, at the
positions it would have alone, so the loss of a packed row equals that of its questions one by one.

An answer of n tokens weighs as much as the square root of n (Chen et al. 2024, arXiv:2412.05271,
"square averaging"): with all tokens alike captions drown answers of one word, with all answers
alike captions are hardly learned.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """One question with its answer as tokens, and which of them are learned."""

    images: tuple[str, ...]
    input_ids: list[int]
    learned: list[bool]


@dataclass(frozen=True)
class Group:
    """Questions about the same pictures: the prefix they share and what follows it for each."""

    images: tuple[str, ...]
    prefix: list[int]
    branches: list[tuple[list[int], list[bool]]]

    @property
    def tokens(self) -> int:
        return len(self.prefix) + sum(len(ids) for ids, _ in self.branches)


Row = list[Group]


@dataclass(frozen=True)
class Groups:
    """Which examples share a prefix, by their numbers."""

    members: NDArray[np.int32]  # [E] examples, group after group
    starts: NDArray[np.int32]  # [G + 1] where each group begins
    tokens: NDArray[np.int32]  # [G] tokens of each group, its prefix counted once

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, number: int) -> NDArray[np.int32]:
        return self.members[self.starts[number] : self.starts[number + 1]]


def group(
    examples: NDArray[np.int32],
    keys: NDArray[np.uint64],
    cuts: NDArray[np.int32],
    lengths: NDArray[np.int32],
    max_tokens: int,
) -> Groups:
    """Join examples with equal keys, each group at most `max_tokens` if it has more than one.

    `examples` [E] are numbers; `keys`, `cuts` (tokens of the prefix) and `lengths` (all tokens) are
    those of all examples [R]. The order of the examples is kept within a group.
    """
    members = examples[np.argsort(keys[examples], kind="stable")]
    starts, tokens = array("i", [0]), array("i")  # lists of a million numbers would be large
    last, used = None, 0
    for place, example in enumerate(members):
        key, cut, length = keys[example], int(cuts[example]), int(lengths[example])
        if key == last and used + length - cut <= max_tokens:
            used += length - cut
        else:
            if place:
                starts.append(place)
                tokens.append(used)
            last, used = key, length
    if len(members):
        starts.append(len(members))
        tokens.append(used)
    return Groups(members, np.array(starts), np.array(tokens))


@dataclass(frozen=True)
class Rows:
    """Groups in rows, by their numbers."""

    groups: NDArray[np.int32]  # all rows' groups, row after row
    starts: NDArray[np.int32]  # [rows + 1]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> NDArray[np.int32]:
        return self.groups[self.starts[number] : self.starts[number + 1]]


def pack(tokens: NDArray[np.int32], max_tokens: int, seed: int, window: int = 16) -> Rows:
    """Fill rows of at most `max_tokens` with groups of so many tokens each [G], in random order.

    Each goes into the first of the open rows that has room. At most `window` are open: where
    another is needed, the fullest is closed.
    """
    groups, starts = array("i"), array("i", [0])

    def close(row: list[int]) -> None:
        groups.extend(row)
        starts.append(len(groups))

    open_rows: list[tuple[int, list[int]]] = []  # tokens so far, groups
    for item in map(
        int, np.random.default_rng(seed).permutation(np.arange(len(tokens), dtype=np.int32))
    ):
        size = int(tokens[item])
        for index, (used, row) in enumerate(open_rows):
            if used + size <= max_tokens:
                row.append(item)
                open_rows[index] = (used + size, row)
                break
        else:
            open_rows.append((size, [item]))
            if len(open_rows) > window:
                fullest = max(open_rows, key=lambda pair: pair[0])
                open_rows.remove(fullest)
                close(fullest[1])
    for _, row in open_rows:
        close(row)
    return Rows(np.array(groups), np.array(starts))


def joined(examples: Sequence[Encoded], cut: int) -> Group:
    """The group of examples whose first `cut` tokens, and pictures, are the same."""
    first = examples[0]
    branches = [(one.input_ids[cut:], one.learned[cut:]) for one in examples]
    return Group(first.images, first.input_ids[:cut], branches)


def tensors(row: Row) -> dict[str, Tensor]:
    """The tensors of one row of T tokens, of which K predict a learned one.

    input_ids, position_ids [1, T]; attention_mask [1, 1, T, T] boolean, True where a query may
    look; predict_from [K] the positions whose logits are needed; targets [K] the tokens they must
    give; weights [K] what each counts in the loss.
    """
    ids: list[int] = []
    positions: list[int] = []
    groups: list[int] = []
    branches: list[int] = []  # 0 for the prefix, which the branches share
    predict_from: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for group_index, item in enumerate(row):
        for branch_index, (tokens, learned) in enumerate(_pieces(item)):
            start = len(item.prefix) if branch_index else 0
            weight = 1 / math.sqrt(max(1, sum(learned[1:])))
            for offset, token in enumerate(tokens):
                # a branch's first token is never learned: it would be predicted from the prefix
                if learned[offset] and offset:
                    predict_from.append(len(ids) - 1)
                    targets.append(token)
                    weights.append(weight)
                ids.append(token)
                positions.append(start + offset)
                groups.append(group_index)
                branches.append(branch_index)
    group_of, branch_of = torch.tensor(groups), torch.tensor(branches)  # [T]
    same_group = group_of[:, None] == group_of[None, :]  # [T, T]
    visible = (branch_of[None, :] == 0) | (branch_of[:, None] == branch_of[None, :])  # [T, T]
    causal = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()  # [T, T]
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "attention_mask": (same_group & visible & causal)[None, None],
        "predict_from": torch.tensor(predict_from, dtype=torch.long),
        "targets": torch.tensor(targets, dtype=torch.long),
        "weights": torch.tensor(weights),
    }


def _pieces(item: Group) -> Iterator[tuple[list[int], list[bool]]]:
    yield item.prefix, [False] * len(item.prefix)
    yield from item.branches
