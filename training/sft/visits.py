"""In which order a run visits the pictures, with which of their questions, and how often."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.common.planning import indices_of
from training.common.recipe import SetVisits
from training.sft.packing import PrefixGroups, RowLayout, group_by_prefix, pack
from training.sft.settings import SftSettings
from training.sft.tokens import TokenTable
from vqa.errors import InputError


def group_rows(
    tokens: TokenTable, rows: NDArray[np.int32], settings: SftSettings, most: int | None = None
) -> PrefixGroups:
    """Group rows that begin alike, at most `most` of them."""
    keys, prefix_lengths = tokens.arrays["prefix_keys"], tokens.arrays["prefix_lengths"]
    return group_by_prefix(rows, keys, prefix_lengths, tokens.lengths, settings.row_tokens, most)


def group_visits(
    tokens: TokenTable, rows: NDArray[np.int32], settings: SftSettings
) -> PrefixGroups:
    """Group the rows of each visit: those that begin alike, or a few of them in random order."""
    if settings.questions_per_visit is not None:
        rows = np.random.default_rng((settings.seed, 2)).permutation(rows)
    return group_rows(tokens, rows, settings, settings.questions_per_visit)


def pack_epochs(tokens: TokenTable, groups: PrefixGroups, settings: SftSettings) -> RowLayout:
    """Pack the visits of all epochs, or of `max_steps`, each epoch in an order of its own."""
    names = tokens.source_names
    mirror = settings.augment.mirror
    named: dict[str, Iterable[str]] = {
        "repeat": settings.repeat,
        "augment.whole": settings.augment.whole,
        "augment.mirror": () if isinstance(mirror, bool) else mirror,
    }
    for key, sources in named.items():
        for source_name in sources:
            if source_name not in names:
                raise InputError(f"{key}: no row of {settings.data} has the source {source_name}")
    alone = settings.questions_per_visit is None  # a group is visited whatever shares its prefix
    begins = _first_groups(tokens, groups, alone)  # [F]
    source = tokens.arrays["sources"][groups.members[groups.starts[begins]]]
    visits = np.zeros(len(begins), dtype=np.int32)  # of each prefix so far

    def epoch(number: int) -> RowLayout:
        parts = []
        for index, name in enumerate(names):
            times = settings.repeat.get(name, 1)
            part = repeated(indices_of(source == index), times, settings.seed + number)
            if not alone:  # the groups of a prefix take turns
                turn = visits[part] + _occurrences(part)
                np.add.at(visits, part, 1)
                ends = np.append(begins[1:], np.int32(len(groups)))
                part = begins[part] + turn % (ends - begins)[part]
            parts.append(part)
        numbers = np.concatenate(parts)
        layout = pack(groups.tokens[numbers], settings.row_tokens, settings.seed + number)
        return RowLayout(numbers[layout.groups], layout.starts)

    packed: list[RowLayout] = []
    count = 0
    limit = settings.max_steps and settings.max_steps * settings.rows_per_step
    while not packed or (count < limit if limit else len(packed) < settings.epochs):
        packed.append(epoch(len(packed)))
        count += len(packed[-1])
        if not count:
            raise InputError("repeat: it leaves nothing of the data to train on")
    share = settings.epochs / math.ceil(settings.epochs)
    return _first(packed, limit or math.ceil(count * share))


def _first_groups(tokens: TokenTable, groups: PrefixGroups, alone: bool) -> NDArray[np.int32]:
    """List the first group of each prefix [F]; all groups where each stands `alone`."""
    if alone:
        return np.arange(len(groups), dtype=np.int32)
    keys = tokens.arrays["prefix_keys"][groups.members[groups.starts[:-1]]]  # [G]
    return indices_of(np.concatenate([[True], keys[1:] != keys[:-1]]))


def _occurrences(items: NDArray[np.int32]) -> NDArray[np.int32]:
    """Count how often each item [N] has occurred before."""
    order = np.argsort(items, kind="stable").astype(np.int32)
    ranks = np.arange(len(items), dtype=np.int32)
    ranks -= np.searchsorted(items[order], items[order]).astype(np.int32)
    result = np.empty_like(ranks)
    result[order] = ranks
    return result


def _first(packed: Sequence[RowLayout], count: int) -> RowLayout:
    """Take the first `count` rows of several layouts, one after the other."""
    groups = np.concatenate([layout.groups for layout in packed])
    sizes = np.concatenate([np.diff(layout.starts) for layout in packed])[:count]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return RowLayout(groups[: starts[-1]], starts)


def repeated(items: NDArray[np.int32], times: float, seed: int) -> NDArray[np.int32]:
    """Repeat the items `times` over; a fraction is a random part of them."""
    part = random.Random(seed).sample(range(len(items)), round(len(items) * (times % 1)))
    return np.concatenate([np.tile(items, int(times)), items[part]])


def count_visits(
    tokens: TokenTable, rows: NDArray[np.int32], groups: PrefixGroups, layout: RowLayout
) -> list[SetVisits]:
    """Count the pictures of each source in `rows`, and their visits in `layout`."""
    sources = tokens.arrays["sources"]
    there, _ = _pictures(tokens, rows)
    visited, counts = _pictures(tokens, groups.members[groups.starts[layout.groups]])
    questions = np.bincount(
        sources[groups.members[groups.starts[layout.groups]]],
        np.diff(groups.starts)[layout.groups],
        len(tokens.source_names),
    )
    result = []
    for index, name in enumerate(tokens.source_names):
        times = counts[visited[:, 0] == index]
        pictures = int((there[:, 0] == index).sum())
        if pictures or questions[index]:
            most = int(times.max(initial=0))
            total = int(times.sum())
            result.append(SetVisits(name, pictures, len(times), total, most, int(questions[index])))
    return result


def _pictures(
    tokens: TokenTable, rows: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the different pairs [P, 2] of source and picture of the rows, and how often [P]."""
    starts = tokens.arrays["picture_starts"]
    sizes = np.diff(starts)[rows]
    offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    pictures = tokens.arrays["pictures"][np.repeat(starts[rows], sizes) + offsets]
    pairs = np.stack([np.repeat(tokens.arrays["sources"][rows], sizes), pictures], axis=1)
    return np.unique(pairs, axis=0, return_counts=True)
