"""Pictures with cells covered, and how likely an answer stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqa.answering import Choosing, Request
from vqa.explain.regions import Region

Mask = NDArray[np.bool_]
Progress = Callable[[int], None]  # called with how many pictures have just been looked at

_SIDE = 512  # pixels: larger pictures are made smaller first, encoders see less anyway
_AT_ONCE = 16


def reduced(picture: Image.Image) -> Image.Image:
    """A copy that is quick to cover many times."""
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE))
    return small


def veil(picture: Image.Image) -> Image.Image:
    """What covers cells: the picture's mean colour. A blur would still show large things."""
    red, green, blue = (int(value) for value in np.asarray(picture).mean((0, 1)))
    return Image.new("RGB", picture.size, (red, green, blue))


def covered(picture: Image.Image, cover: Image.Image, region: Region, mask: Mask) -> Image.Image:
    """`picture` with the cells of `region` that `mask` [rows, columns] names taken from `cover`."""
    width, height = picture.size
    rows, columns = mask.shape
    across = np.floor(_places(width, region.left, region.right) * columns).astype(int)
    down = np.floor(_places(height, region.top, region.bottom) * rows).astype(int)
    in_row, in_column = (down >= 0) & (down < rows), (across >= 0) & (across < columns)
    chosen = mask[np.clip(down, 0, rows - 1)][:, np.clip(across, 0, columns - 1)]  # [H, W]
    chosen = chosen & in_row[:, None] & in_column[None, :]
    return Image.composite(cover, picture, Image.fromarray(chosen))


def likelihoods(
    answerer: Choosing,
    request: Request,
    answer: str,
    versions: Iterable[Sequence[Image.Image]],
    progress: Progress,
) -> list[float]:
    """Log probability of `answer` for each version of the request's pictures.

    It is divided by the number of words, the end counted as one: else a long answer would be
    unlikely whatever is covered.
    """
    words = len(answer.split()) + 1
    found: list[float] = []
    rest = iter(versions)
    while part := list(islice(rest, _AT_ONCE)):
        requests = [with_pictures(request, pictures) for pictures in part]
        found += [one[0] / words for one in answerer.choose(requests, [[answer]] * len(part))]
        progress(len(part))
    return found


def pictures_of(request: Request) -> list[Image.Image]:
    """All pictures of a conversation, in order."""
    return [image for message in request.messages for image in message.images]


def with_pictures(request: Request, pictures: Sequence[Image.Image]) -> Request:
    """The same conversation about other pictures."""
    rest = iter(pictures)
    messages = tuple(
        replace(message, images=tuple(next(rest) for _ in message.images))
        for message in request.messages
    )
    return replace(request, messages=messages)


def _places(pixels: int, first: float, last: float) -> NDArray[np.float64]:
    return ((np.arange(pixels) + 0.5) / pixels - first) / (last - first)
