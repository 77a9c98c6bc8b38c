"""Where an answerer looked: maps over the pictures for an answer, and how much they tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from vqa.answering import Choosing, Request
from vqa.errors import InputError
from vqa.explain.covering import pictures_of, reduced, with_pictures
from vqa.explain.explanation import By, Explanation
from vqa.explain.faithfulness import Scores, faithfulness
from vqa.explain.faithfulness import looks as faithfulness_looks
from vqa.explain.occlusion import looks as occlusion_looks
from vqa.explain.occlusion import occlusion
from vqa.explain.regions import Map, Region, seen

__all__ = ["By", "Explanation", "Map", "Region", "Scores", "check", "explain"]

GRID = 8


def explain(
    answerer: Any,
    request: Request,
    answer: str,
    by: By = "attention",
    grid: int = GRID,
    progress: Callable[[int, int | None], None] | None = None,
) -> Explanation:
    """Make a map of each picture of `request` that tells what `answer` rests on, and score it.

    By `attention` it comes from inside the model: a `LocalEngine`, or any answerer with a method
    `attention_map(request)` that gives [H, W] over the picture that was last shown, which is all it
    reads, and a method `region(size)` for what it sees of one. By `occlusion`, parts of the
    pictures are covered, `grid` x `grid` of them: any answerer that can choose will do. Scores take
    an answerer that can choose, too. `progress` is called with how many versions of the pictures
    have been looked at and of how many. What the answerer remembers may be pushed out.

    Raises InputError where there is no picture or answer, or where `check` does.
    """
    check(answerer, by)
    pictures = pictures_of(request)
    if not pictures:
        raise InputError("There is no picture in the conversation to explain the answer by.")
    if not answer.strip():
        raise InputError("The answer is empty: there is nothing to explain.")
    if grid < 2:
        raise InputError(f"grid is {grid}: at least 2 is needed.")
    scored = isinstance(answerer, Choosing)
    total = occlusion_looks(len(pictures), grid) if by == "occlusion" else 1
    total += faithfulness_looks() if scored else 0
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    small = with_pictures(request, [reduced(picture) for picture in pictures])
    if by == "occlusion":
        regions = _regions(answerer, pictures)
        values = occlusion(answerer, small, answer, regions, grid, tell)
    else:
        regions, values = _attention(answerer, request, answer, pictures)
        tell(1)
    maps = tuple(
        Map(one, region, picture.size)
        for one, region, picture in zip(values, regions, pictures, strict=True)
    )
    scores = faithfulness(answerer, small, answer, maps, tell) if scored else None
    return Explanation(by, answer, maps, scores)


def check(answerer: Any, by: By) -> None:
    """Raise InputError where answers of `answerer` cannot be explained in this way."""
    if by == "occlusion":
        if not isinstance(answerer, Choosing):
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
    from vqa.explain.attention import check_weights

    check_weights(loaded)


def _regions(answerer: Any, pictures: list[Image.Image]) -> list[Region]:
    """What the answerer sees of each picture; all of it where nothing else is known."""
    if hasattr(answerer, "region"):
        return [answerer.region(picture.size) for picture in pictures]
    loaded = getattr(answerer, "loaded", None)
    if loaded is None:
        return [Region()] * len(pictures)
    processor = loaded.processor
    return [seen(processor.image_processor, p.size, processor.patch_size) for p in pictures]


def _attention(
    answerer: Any, request: Request, answer: str, pictures: list[Image.Image]
) -> tuple[list[Region], list[Any]]:
    if hasattr(answerer, "attention_map"):
        found = answerer.attention_map(request)
        last = max(n for n, picture in enumerate(pictures) if picture is _last_shown(request))
        maps = [found if n == last else np.zeros_like(found) for n in range(len(pictures))]
        return _regions(answerer, pictures), maps
    from vqa.explain.attention import attention

    return _regions(answerer, pictures), attention(answerer.loaded, request, answer)


def _last_shown(request: Request) -> Image.Image:
    return next(m.images[-1] for m in reversed(request.messages) if m.images)
