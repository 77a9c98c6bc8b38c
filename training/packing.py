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
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
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


def group(examples: Iterable[Encoded], image_token_id: int, max_tokens: int) -> list[Group]:
    """Join examples with the same pictures and the same prefix, each group at most `max_tokens`.

    An example that is longer than `max_tokens` alone gets a group, and later a row, of its own.
    """
    groups: list[Group] = []
    open_groups: dict[tuple[tuple[str, ...], tuple[int, ...]], Group] = {}
    for example in examples:
        ids = example.input_ids
        # the prefix ends with the last image token; without pictures nothing is shared
        cut = max((i for i, token in enumerate(ids) if token == image_token_id), default=-1) + 1
        if any(example.learned[:cut]):  # a picture in a later turn: its answers cannot be shared
            cut = 0
        key = (example.images, tuple(ids[:cut]))
        branch = (ids[cut:], example.learned[cut:])
        found = open_groups.get(key) if cut else None
        if found is None or found.tokens + len(branch[0]) > max_tokens:
            found = Group(example.images, ids[:cut], [])
            open_groups[key] = found
            groups.append(found)
        found.branches.append(branch)
    return groups


def pack(groups: Sequence[Group], max_tokens: int, seed: int, window: int = 16) -> list[Row]:
    """Fill rows of at most `max_tokens` with groups in random order; first fit among open rows."""
    order = list(groups)
    random.Random(seed).shuffle(order)
    rows: list[Row] = []
    open_rows: list[tuple[int, Row]] = []  # tokens so far, row
    for item in order:
        for index, (used, row) in enumerate(open_rows):
            if used + item.tokens <= max_tokens:
                row.append(item)
                open_rows[index] = (used + item.tokens, row)
                break
        else:
            row = [item]
            rows.append(row)
            open_rows.append((item.tokens, row))
            if len(open_rows) > window:
                open_rows.remove(max(open_rows, key=lambda pair: pair[0]))
    return rows


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
