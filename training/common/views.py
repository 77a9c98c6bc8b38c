"""Views of a picture: cut out or mirrored, so that training does not learn pictures by heart.

Random crops and mirror images as in Krizhevsky et al. 2012. Features of a frozen encoder are
computed once, so each picture has a fixed number of views, which are drawn from its content.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

from PIL import Image, ImageOps

from training.common.settings import AugmentSettings


@dataclass(frozen=True, slots=True)
class View:
    """A part of a picture, in shares of its width and height; by default all of it."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0
    mirrored: bool = False

    def __call__(self, picture: Image.Image) -> Image.Image:
        """Cut the view out of `picture`."""
        if self == WHOLE:
            return picture
        width, height = picture.size
        left, top = int(self.left * width), int(self.top * height)
        right, bottom = round(self.right * width), round(self.bottom * height)
        part = picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
        return ImageOps.mirror(part) if self.mirrored else part

    def key(self, content: str) -> str:
        """Name its features in a cache, of the picture with the fingerprint `content`."""
        if self == WHOLE:
            return content
        box = "-".join(f"{side:.4f}" for side in (self.left, self.top, self.right, self.bottom))
        return f"{content}-{box}-{'m' if self.mirrored else 'p'}"


WHOLE = View()


def draw_view(
    number: int, content: str, sources: Collection[str], augment: AugmentSettings
) -> View:
    """Draw view `number` of a picture with the fingerprint `content`; number 0 is the whole.

    `sources` are those of the rows that look at it.
    """
    if number == 0:
        return WHOLE
    draw = random.Random(f"{content} {number}")
    named = augment.mirror
    mirror = named if isinstance(named, bool) else set(sources) <= set(named)
    mirrored = draw.random() < 0.5 and mirror
    smallest = augment.smallest if set(sources).isdisjoint(augment.whole) else 1
    (left, right), (top, bottom) = (_span(draw, smallest) for _ in range(2))
    return View(left, top, right, bottom, mirrored)


def _span(draw: random.Random, smallest: float) -> tuple[float, float]:
    length = draw.uniform(smallest, 1)
    start = draw.uniform(0, 1 - length)
    return start, start + length
