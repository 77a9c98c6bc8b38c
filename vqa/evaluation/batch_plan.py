"""Plan which rows are answered together, from all rows: no interruption changes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqa.data.example import Example
from vqa.errors import InputError


@dataclass(frozen=True)
class PictureGroup:
    """Rows about the same pictures; the engine computes the prefix that they share once."""

    images: tuple[Path, ...]
    rows: tuple[Example, ...]


Batch = tuple[PictureGroup, ...]


def plan_batches(examples: Iterable[Example], batch_size: int) -> list[Batch]:
    """Put rows into batches of at most `batch_size` rows.

    Rows of the same pictures stay together, in the order in which the pictures first come; rows
    with more pictures come after those with fewer, since a batch takes as long as its longest
    prompt. A batch holds whole groups. A group that is larger than a batch is cut, its questions
    sorted by length.
    """
    by_pictures: dict[tuple[Path, ...], list[Example]] = {}
    for example in examples:
        images = tuple(Path(image) for image in example.images)
        by_pictures.setdefault(images, []).append(example)
    batches: list[Batch] = []
    batch: list[PictureGroup] = []
    free = batch_size
    for images, rows in sorted(by_pictures.items(), key=lambda item: len(item[0])):
        if len(rows) > batch_size:
            rows.sort(key=lambda row: len(row.question))
        for start in range(0, len(rows), batch_size):
            group = PictureGroup(images, tuple(rows[start : start + batch_size]))
            if len(group.rows) > free:
                batches.append(tuple(batch))
                batch, free = [], batch_size
            batch.append(group)
            free -= len(group.rows)
    return [*batches, tuple(batch)] if batch else batches


def take_shard(batches: Sequence[Batch], number: int, count: int) -> Sequence[Batch]:
    """Take the `number`th (from 1) of `count` pieces of a plan, cut between batches.

    Raises InputError unless 1 <= number <= count.
    """
    if not 1 <= number <= count:
        raise InputError(f"there is no shard {number} of {count}: count from 1, as in 1/{count}")
    start, stop = (len(batches) * part // count for part in (number - 1, number))
    return batches[start:stop]
