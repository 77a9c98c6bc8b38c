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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.common.features import PictureTensors
from training.common.rows import TrainRows
from training.common.views import WHOLE, View


@dataclass(frozen=True)
class EncodedExample:
    """One question with its answer as tokens; a loss is computed where `loss_mask` is set."""

    images: tuple[str, ...]
    input_ids: list[int]
    loss_mask: list[bool]
    shared_end: int = 0  # end of what all questions about the pictures begin with, if known


@dataclass(frozen=True)
class PrefixGroup:
    """Questions about the same pictures: the prefix they share and what follows it for each."""

    images: tuple[str, ...]
    prefix: list[int]
    branches: list[tuple[list[int], list[bool]]]

    @property
    def tokens(self) -> int:
        """Count the tokens, those of the prefix once."""
        return len(self.prefix) + sum(len(ids) for ids, _ in self.branches)


@dataclass(frozen=True)
class PrefixGroups:
    """Which examples share a prefix, by their numbers."""

    members: NDArray[np.int32]  # [E] examples, group after group
    starts: NDArray[np.int32]  # [G + 1] where each group begins
    tokens: NDArray[np.int32]  # [G] tokens of each group, its prefix counted once

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, number: int) -> NDArray[np.int32]:
        return self.members[self.starts[number] : self.starts[number + 1]]


def group_by_prefix(
    examples: NDArray[np.int32],
    keys: NDArray[np.uint64],
    prefix_lengths: NDArray[np.int32],
    lengths: NDArray[np.int32],
    max_tokens: int,
    max_examples: int | None = None,
) -> PrefixGroups:
    """Join examples with equal keys; a group of more than one has at most `max_tokens`.

    `max_examples` bounds a group, too. Within a group examples stay in their order.

    `examples` [E] are numbers; `keys`, `prefix_lengths` and `lengths`, both in tokens, are those of
    all examples [R].
    """
    members = examples[np.argsort(keys[examples], kind="stable")]
    starts, tokens = array("i", [0]), array("i")  # lists of a million numbers would be large
    last, used, most = None, 0, max_examples or len(members)
    for index, example in enumerate(members):
        key, length = keys[example], int(lengths[example])
        branch = length - int(prefix_lengths[example])
        room = used + branch <= max_tokens and index - starts[-1] < most
        if key == last and room:
            used += branch
        else:
            if index:
                starts.append(index)
                tokens.append(used)
            last, used = key, length
    if len(members):
        starts.append(len(members))
        tokens.append(used)
    return PrefixGroups(members, np.array(starts), np.array(tokens))


@dataclass(frozen=True)
class RowLayout:
    """Which groups each packed row holds, by their numbers."""

    groups: NDArray[np.int32]  # all rows' groups, row after row
    starts: NDArray[np.int32]  # [rows + 1]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> NDArray[np.int32]:
        return self.groups[self.starts[number] : self.starts[number + 1]]


def pack(tokens: NDArray[np.int32], max_tokens: int, seed: int, window: int = 16) -> RowLayout:
    """Fill rows of at most `max_tokens` with groups, of `tokens` [G] each, in random order.

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
    return RowLayout(np.array(groups), np.array(starts))


def join_examples(examples: Sequence[EncodedExample], shared: int) -> PrefixGroup:
    """Join examples whose first `shared` tokens, and pictures, are the same."""
    first = examples[0]
    branches = [(example.input_ids[shared:], example.loss_mask[shared:]) for example in examples]
    return PrefixGroup(first.images, first.input_ids[:shared], branches)


def row_tensors(row: Sequence[PrefixGroup], multiple: int = 1) -> dict[str, Tensor]:
    """Make the tensors of one row of T tokens, of which K predict a target.

    The row is filled up to a `multiple` of tokens by a group that no other sees and that has no
    target.

    input_ids, position_ids [1, T]; attention_mask [1, 1, T, T] boolean, True where a query may
    look; predict_from [K] the positions whose logits are needed; targets [K] the tokens they must
    give; weights [K] what each counts in the loss; answers [K] the numbers of the branches, counted
    over the row, that the targets belong to.
    """
    ids: list[int] = []
    positions: list[int] = []
    groups: list[int] = []
    branches: list[int] = []  # 0 for the prefix, which the branches share
    predict_from: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    answers: list[int] = []
    before = 0  # branches of earlier groups
    for group_index, item in enumerate(row):
        for branch_index, (tokens, loss_mask) in enumerate(_pieces(item)):
            start = len(item.prefix) if branch_index else 0
            weight = 1 / math.sqrt(max(1, sum(loss_mask[1:])))
            for offset, token in enumerate(tokens):
                # a branch's first token is no target: it would be predicted from the prefix
                if loss_mask[offset] and offset:
                    predict_from.append(len(ids) - 1)
                    targets.append(token)
                    weights.append(weight)
                    answers.append(before + branch_index - 1)
                ids.append(token)
                positions.append(start + offset)
                groups.append(group_index)
                branches.append(branch_index)
        before += len(item.branches)
    for values, filler in ((ids, 0), (positions, 0), (groups, -1), (branches, 0)):
        values.extend([filler] * (-len(values) % multiple))
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
        "answers": torch.tensor(answers, dtype=torch.long),
    }


def _pieces(item: PrefixGroup) -> Iterator[tuple[list[int], list[bool]]]:
    yield item.prefix, [False] * len(item.prefix)
    yield from item.branches


def stack_rows(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join rows of `PackedRows` into a batch of B rows of T tokens, as many as the longest has.

    input_ids, position_ids [B, T]; attention_mask [B, 1, T, T]; predict_from [K] counts over all
    B * T tokens; answers [K] over the branches of all rows; all else row after row.
    """
    length, before = max(row["input_ids"].shape[1] for row in rows), 0
    filled = []
    for number, row in enumerate(rows):
        missing, mask = length - row["input_ids"].shape[1], row["attention_mask"]
        nothing = torch.finfo(mask.dtype).min
        filled.append(
            row
            | {
                "input_ids": F.pad(row["input_ids"], (0, missing)),
                "position_ids": F.pad(row["position_ids"], (0, missing)),
                "attention_mask": F.pad(mask, (0, missing, 0, missing), value=nothing),
                "predict_from": row["predict_from"] + number * length,
                "answers": row["answers"] + before,
            }
        )
        before += 1 + max(row["answers"].tolist(), default=-1)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: torch.cat([row[name] for row in filled if name in row]) for name in names}


def set_attention(model: Any, attention: str) -> None:
    """Let the language model attend by `sdpa` or `eager`, under both of which packing is exact.

    Some know `eager` alone, such as Gemma 2.
    """
    decoder = model.get_decoder()
    decoder.set_attn_implementation(attention if decoder._supports_sdpa else "eager")


class EncodedExamples(Protocol):
    """What packed rows are made of: examples by their number, and the prefixes that they share."""

    def __getitem__(self, row: int) -> EncodedExample: ...

    def prefix_length(self, row: int) -> int: ...


class PackedRows(TrainRows):
    """Packed rows in the order in which they are trained on."""

    def __init__(
        self,
        examples: EncodedExamples,
        groups: PrefixGroups,
        layout: RowLayout,
        pictures: PictureTensors,
        dtype: torch.dtype,
        view: Callable[[int], View] = lambda index: WHOLE,
        multiple: int = 1,
    ) -> None:
        self.examples = examples
        self.groups = groups
        self.layout = layout
        self.pictures = pictures
        self.dtype = dtype
        self.view = view  # of a group's pictures, by its index in `layout.groups`
        self.multiple = multiple  # of tokens, to which each row is filled up

    def __len__(self) -> int:
        return len(self.layout)

    def branches_of(self, member: int) -> list[EncodedExample]:
        """Return the branches of one question: the one with its answer."""
        return [self.examples[member]]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row: list[PrefixGroup] = []
        pictures: list[Tensor] = []
        for group_index, number in enumerate(self.layout[index], int(self.layout.starts[index])):
            members = self.groups[number].tolist()
            shared = self.examples.prefix_length(members[0])
            branches = [branch for member in members for branch in self.branches_of(member)]
            row.append(join_examples(branches, shared))
            if row[-1].images:
                view = self.view(group_index)
                pictures += [crop for path in row[-1].images for crop in self.pictures(path, view)]
        batch = row_tensors(row, self.multiple)
        if pictures:
            batch["pixel_values"] = torch.stack(pictures).to(self.dtype)  # [crops, ...]
        # an additive mask is exact under both SDPA and eager attention; a boolean one is not
        visible = batch["attention_mask"]
        batch["attention_mask"] = torch.zeros(visible.shape, dtype=self.dtype).masked_fill(
            ~visible, torch.finfo(self.dtype).min
        )  # [1, 1, T, T]
        return batch
