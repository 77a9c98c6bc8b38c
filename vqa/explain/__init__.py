"""Explain an answer by maps over its pictures, and score how faithful they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from vqa.answering import Request, SupportsChoices
from vqa.errors import InputError
from vqa.explain.covering import AT_ONCE, SIDE, downscaled, with_pictures
from vqa.explain.faithfulness import FaithfulnessScores, faithfulness
from vqa.explain.faithfulness import count_versions as count_faithfulness_versions
from vqa.explain.occlusion import count_versions as count_occlusion_versions
from vqa.explain.occlusion import occlusion_maps
from vqa.explain.regions import Region, RelevanceMap, visible_region
from vqa.inputs.tiles import largest_edge

__all__ = ["By", "Explanation", "check_answerer", "explain"]

GRID = 8

By = Literal["attention", "occlusion"]


@dataclass(frozen=True)
class Explanation:
    """What an answer rests on: a map for each picture of the conversation."""

    by: By
    answer: str
    maps: tuple[RelevanceMap, ...]
    scores: FaithfulnessScores | None  # None: the answerer cannot score choices

    @property
    def relative_maps(self) -> list[RelevanceMap]:
        """The maps beside the place that matters most in all of them, which is 1."""
        highest = max(float(one.values.max()) for one in self.maps) or 1.0
        return [RelevanceMap(one.values / highest, one.region, one.size) for one in self.maps]

    @property
    def warning(self) -> str | None:
        """A warning for the user where the maps mean nothing."""
        if not any(one.values.any() for one in self.maps):
            return "This map explains nothing: no part of the picture makes the answer likelier."
        if self.scores is None or self.scores.better_than_random:
            return None
        return "This map explains nothing: it is no better than random maps."


def explain(
    answerer: Any,
    request: Request,
    answer: str,
    by: By = "attention",
    grid: int = GRID,
    progress: Callable[[int, int | None], None] | None = None,
    at_once: int = AT_ONCE,
    mapped: Callable[[Explanation], None] | None = None,
) -> Explanation:
    """Map what `answer` rests on, over each picture of `request`, and score the maps.

    `attention` reads the model itself: that of a `LocalEngine`, or any answerer with a method
    `attention_map(request)` that returns [H, W] over the conversation's last picture, which is all
    it reads, and a method `region(size)` for the part of a picture that it sees. `occlusion` covers
    parts of the pictures, `grid` x `grid` of them, for any answerer that `SupportsChoices`, as
    scores need too. `progress` is called with the numbers of versions of the pictures that the
    answerer has read and will read. They may push older entries out of its caches. It reads
    `at_once` of them in one go, during which it may answer nobody. `mapped` is called with the maps
    before they are scored, which takes many times as long.

    Raises InputError where there is no picture or answer, or where `check_answerer` does.
    """
    check_answerer(answerer, by)
    pictures = request.images
    if not pictures:
        raise InputError("There is no picture in the conversation to explain the answer by.")
    if not answer.strip():
        raise InputError("The answer is empty: there is nothing to explain.")
    if grid < 2:
        raise InputError(f"grid is {grid}: at least 2 is needed.")
    scored = isinstance(answerer, SupportsChoices)
    total = count_occlusion_versions(len(pictures), grid) if by == "occlusion" else 1
    total += count_faithfulness_versions() if scored else 0
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    side = _side(answerer)
    small = with_pictures(request, [downscaled(picture, side) for picture in pictures])
    if by == "occlusion":
        regions = _regions(answerer, pictures)
        grids = occlusion_maps(answerer, small, answer, regions, grid, advance, at_once)
    else:
        regions, grids = _attention(answerer, request, answer, pictures)
        advance(1)
    maps = tuple(
        RelevanceMap(values, region, picture.size)
        for values, region, picture in zip(grids, regions, pictures, strict=True)
    )
    unscored = Explanation(by, answer, maps, None)
    if not scored:
        return unscored
    if mapped is not None:
        mapped(unscored)
    scores = faithfulness(answerer, small, answer, maps, advance, at_once)
    return replace(unscored, scores=scores)


def check_answerer(answerer: Any, by: By) -> None:
    """Raise InputError where answers of `answerer` cannot be explained in this way."""
    if by == "occlusion":
        if not isinstance(answerer, SupportsChoices):
            raise InputError(
                f"{answerer.name}: it cannot tell how likely a given answer is, and so not what "
                "covering a part of the picture changes; explain with a model of this machine."
            )
        return
    if hasattr(answerer, "attention_map"):
        return
    loaded = getattr(answerer, "loaded", None)
    if loaded is None:
        raise InputError(
            f"{answerer.name}: its attention cannot be read from here; explain with a model of "
            "this machine, or by occlusion where it can choose between answers."
        )
    from vqa.explain.attention import check_attention_readable

    check_attention_readable(loaded)


def _side(answerer: Any) -> int:
    """Return a side in pixels to which pictures can be made smaller and keep their tiles."""
    loaded = getattr(answerer, "loaded", None)
    if loaded is None:
        return SIDE
    return max(SIDE, 2 * largest_edge(loaded.processor.image_processor))


def _regions(answerer: Any, pictures: list[Image.Image]) -> list[Region]:
    """Return the part of each picture that the answerer sees; by default all of it."""
    if hasattr(answerer, "region"):
        return [answerer.region(picture.size) for picture in pictures]
    loaded = getattr(answerer, "loaded", None)
    if loaded is None:
        return [Region()] * len(pictures)
    processor = loaded.processor
    return [
        visible_region(processor.image_processor, p.size, processor.patch_size) for p in pictures
    ]


def _attention(
    answerer: Any, request: Request, answer: str, pictures: list[Image.Image]
) -> tuple[list[Region], list[Any]]:
    if hasattr(answerer, "attention_map"):
        values = answerer.attention_map(request)
        latest = next(m.images[-1] for m in reversed(request.messages) if m.images)
        last = max(n for n, picture in enumerate(pictures) if picture is latest)
        maps = [values if n == last else np.zeros_like(values) for n in range(len(pictures))]
        return _regions(answerer, pictures), maps
    from vqa.explain.attention import attention_maps

    (hinted,), _ = answerer.with_hints([request])
    return _regions(answerer, pictures), attention_maps(answerer.loaded, hinted, answer)
