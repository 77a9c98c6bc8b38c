"""How faithful a map is to what the answer rests on: deletion and insertion.

Petsiuk, Das and Saenko 2018 (RISE, arXiv:1806.07421, section 4.3): cover the picture step by step,
the highest cells of the map first, and the answer should soon become unlikely; uncover it in the
same order, and the answer should soon become likely. Each score is the mean probability
over the steps: low is good for deletion, high for insertion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vqa.answering import Request, SupportsChoices
from vqa.explain.covering import (
    AT_ONCE,
    Mask,
    Progress,
    answer_log_probs,
    cover_cells,
    mean_colour,
)
from vqa.explain.regions import Region, RelevanceMap, Values

STEPS = 8
RANDOM = 4  # maps; a map has to beat the best of them, as one more random map does in a fifth


@dataclass(frozen=True)
class FaithfulnessScores:
    """Deletion (lower is better) and insertion (higher is better), 0 to 1, beside random maps."""

    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float
    best_random: float  # insertion less deletion of the best random map

    @property
    def better_than_random(self) -> bool:
        """Return whether insertion less deletion is above that of every random map."""
        return self.insertion - self.deletion > self.best_random


def faithfulness(
    answerer: SupportsChoices,
    request: Request,
    answer: str,
    maps: Sequence[RelevanceMap],
    progress: Progress,
    at_once: int = AT_ONCE,
) -> FaithfulnessScores:
    """Score the maps of a request's pictures together, and random maps in the same way."""
    random = np.random.default_rng(0)
    candidates = [[one.values for one in maps]]
    candidates += [[random.random(one.values.shape) for one in maps] for _ in range(RANDOM)]
    regions = [one.region for one in maps]
    scores = deletion_and_insertion(
        answerer, request, answer, regions, candidates, progress, at_once
    )
    deletion, insertion = np.mean(scores[1:], axis=0)
    best = max(uncovered - covered for covered, uncovered in scores[1:])
    return FaithfulnessScores(*scores[0], float(deletion), float(insertion), best)


def deletion_and_insertion(
    answerer: SupportsChoices,
    request: Request,
    answer: str,
    regions: Sequence[Region],
    candidates: Sequence[Sequence[Values]],
    progress: Progress,
    at_once: int = AT_ONCE,
) -> list[tuple[float, float]]:
    """Compute both scores of each candidate, which has a map for each picture of the request."""
    pictures = request.images
    covers = [mean_colour(picture) for picture in pictures]

    def versions() -> Iterator[list[Image.Image]]:
        def version(masks: Sequence[Mask]) -> list[Image.Image]:
            return [cover_cells(*one) for one in zip(pictures, covers, regions, masks, strict=True)]

        shapes = [one.shape for one in candidates[0]]
        yield version([np.zeros(shape, bool) for shape in shapes])
        yield version([np.ones(shape, bool) for shape in shapes])
        for values in candidates:
            ranks = _ranks(values)
            cells = sum(one.size for one in values)
            for count in (cells * step // STEPS for step in range(1, STEPS)):
                yield version([rank < count for rank in ranks])  # deletion
                yield version([rank >= count for rank in ranks])  # insertion

    log_probs = answer_log_probs(answerer, request, answer, versions(), progress, at_once)
    probabilities = np.exp(log_probs)
    between = probabilities[2:].reshape(len(candidates), STEPS - 1, 2).sum(1)  # [candidates, 2]
    means = (between + probabilities[:2].sum()) / (STEPS + 1)  # both go from one end to the other
    return [(float(deletion), float(insertion)) for deletion, insertion in means]


def count_versions(candidates: int = 1 + RANDOM) -> int:
    """Count the versions of the pictures that the answerer reads."""
    return 2 + candidates * 2 * (STEPS - 1)


def _ranks(values: Sequence[Values]) -> list[np.ndarray]:
    """Rank the cells of all pictures together, the highest first; equal ones at random."""
    flat = np.concatenate([one.ravel() for one in values])
    ties = np.random.default_rng(1).random(len(flat))
    ranks = np.empty(len(flat), int)
    ranks[np.lexsort((ties, -flat))] = np.arange(len(flat))
    ends = np.cumsum([one.size for one in values])[:-1]
    parts = np.split(ranks, ends)
    return [part.reshape(one.shape) for part, one in zip(parts, values, strict=True)]
