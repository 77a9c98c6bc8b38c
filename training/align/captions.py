"""Rows of pictures and captions: which ones can be used, and which belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.common.planning import data_root
from training.common.settings import RunSettings
from training.common.skipped import FileProblems
from vqa.data import read
from vqa.errors import InputError


@dataclass(frozen=True)
class CaptionPairs:
    """Different pictures and texts, and which belong together: a pair for each caption."""

    pictures: list[str]  # paths, one for each content
    fingerprints: list[str]  # of their files
    texts: list[str]
    pairs: NDArray[np.int32]  # [P, 2]: picture, text
    left_out: int  # rows that do not show exactly one picture, or whose answer is not in the loss

    def pairs_of(self, pictures: NDArray[np.int32]) -> NDArray[np.int32]:
        """Select the pairs of some pictures."""
        return self.pairs[np.isin(self.pairs[:, 0], pictures)]


@dataclass(frozen=True)
class CaptionRow:
    """A row: its picture's path, and its captions."""

    line: int
    image: str
    texts: tuple[str, ...]


def read_captions(
    file: FileProblems, settings: RunSettings, check: Callable[[Sequence[str]], None]
) -> tuple[list[CaptionRow], int]:
    """Read the rows of a file that show one picture, and count those that do not.

    Every answer is a caption; `check` raises InputError for one that cannot be used.
    """
    rows: list[CaptionRow] = []
    left_out = 0
    examples = read(
        file.file,
        data_root(file.file, settings),
        bad=lambda row: file.add(row.line, row.reason),
        notice=file.notices.append,
    )
    for example in examples:
        if len(example.images) != 1 or not example.in_loss:
            left_out += 1
            continue
        texts = tuple(filter(None, (" ".join(text.split()) for text in example.answers)))
        try:
            check(texts)
        except InputError as error:
            file.add(example.line, str(error))
        else:
            rows.append(CaptionRow(example.line, str(example.images[0]), texts))
    if not rows and left_out:
        raise InputError(f"{file.file}: no row shows exactly one picture and has an answer")
    return rows, left_out


def pair_captions(
    rows: Sequence[CaptionRow], fingerprints: Mapping[str, str], left_out: int = 0
) -> CaptionPairs:
    """Pair pictures and texts; `fingerprints` are those of the pictures that are whole."""
    pictures: dict[str, int] = {}
    paths: list[str] = []
    texts: dict[str, int] = {}
    pairs: dict[tuple[int, int], None] = {}
    for row in rows:
        if row.image not in fingerprints:
            continue
        for text in row.texts:
            if fingerprints[row.image] not in pictures:
                paths.append(row.image)
            number = pictures.setdefault(fingerprints[row.image], len(pictures))
            pairs[number, texts.setdefault(text, len(texts))] = None
    numbers = np.array(list(pairs), dtype=np.int32).reshape(-1, 2)
    return CaptionPairs(paths, list(pictures), list(texts), numbers, left_out)
