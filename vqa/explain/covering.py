"""Pictures with cells covered, and how likely an answer stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqa.answering import Request, SupportsChoices
from vqa.errors import InputError
from vqa.explain.regions import Region

Mask = NDArray[np.bool_]
Progress = Callable[[int], None]  # called with how many more versions the answerer has read

SIDE = 512  # pixels: larger pictures are made smaller first, encoders see less anyway
AT_ONCE = 16  # versions of the pictures that the answerer reads in one go


def downscaled(picture: Image.Image, side: int = SIDE) -> Image.Image:
    """Copy a picture in a size that is quick to cover many times."""
    small = picture.copy()
    small.thumbnail((side, side))
    return small


def mean_colour(picture: Image.Image) -> Image.Image:
    """Make a cover in the picture's mean colour. A blur would still show large things."""
    red, green, blue = (int(value) for value in np.asarray(picture).mean((0, 1)))
    return Image.new("RGB", picture.size, (red, green, blue))


def cover_cells(
    picture: Image.Image, cover: Image.Image, region: Region, mask: Mask
) -> Image.Image:
    """Replace the cells of `region` that `mask` [rows, columns] names by those of `cover`."""
    width, height = picture.size
    rows, columns = mask.shape
    across = np.floor(_places(width, region.left, region.right) * columns).astype(int)
    down = np.floor(_places(height, region.top, region.bottom) * rows).astype(int)
    in_row, in_column = (down >= 0) & (down < rows), (across >= 0) & (across < columns)
    hidden = mask[np.clip(down, 0, rows - 1)][:, np.clip(across, 0, columns - 1)]  # [H, W]
    hidden = hidden & in_row[:, None] & in_column[None, :]
    return Image.composite(cover, picture, Image.fromarray(hidden))


def answer_log_probs(
    answerer: SupportsChoices,
    request: Request,
    answer: str,
    versions: Iterable[Sequence[Image.Image]],
    progress: Progress,
    at_once: int = AT_ONCE,
) -> list[float]:
    """Compute the log probability of `answer` for each version of the request's pictures.

    The answerer reads `at_once` of them in one go. Each is divided by the number of words, the end
    counted as one: else a long answer would be unlikely whatever is covered. Raises InputError
    where the model can never give that answer.
    """
    words = len(answer.split()) + 1
    log_probs: list[float] = []
    rest = iter(versions)
    while part := list(islice(rest, at_once)):
        requests = [with_pictures(request, pictures) for pictures in part]
        scores = answerer.score_choices(requests, [[answer]] * len(part))
        log_probs += [score / words for (score,) in scores]
        progress(len(part))
    if not np.isfinite(log_probs).all():
        raise InputError(f"{answer[:80]!r} cannot be an answer of the model: nothing explains it.")
    return log_probs


def with_pictures(request: Request, pictures: Sequence[Image.Image]) -> Request:
    """Replace the pictures of a conversation."""
    rest = iter(pictures)
    messages = tuple(
        replace(message, images=tuple(next(rest) for _ in message.images))
        for message in request.messages
    )
    return replace(request, messages=messages)


def _places(pixels: int, first: float, last: float) -> NDArray[np.float64]:
    return ((np.arange(pixels) + 0.5) / pixels - first) / (last - first)
