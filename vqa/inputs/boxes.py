"""A part of a picture that somebody marked: checked, cut out at full resolution, and drawn."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageDraw

from vqa.errors import InputError

LEAST = 8  # pixels of each side of a part: fewer show nothing
_LINES = 100  # of a box's frame fit into the longer side of its picture
_INSIDE, _OUTSIDE = "#ffd54a", "#202020"  # of the frame: one of the two shows on any picture


@dataclass(frozen=True)
class Box:
    """A rectangle in a picture, in shares of its width and height from the upper left corner.

    The picture is that of `load_image`, turned upright. Raises ValueError for what is not inside
    it, or has no area.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ValueError(f"no part of a picture: {self.values}")  # NaN neither

    @property
    def values(self) -> list[float]:
        """Return left, top, right and bottom."""
        return [self.left, self.top, self.right, self.bottom]

    def __str__(self) -> str:
        return (
            f"x {100 * self.left:.0f}-{100 * self.right:.0f} %, "
            f"y {100 * self.top:.0f}-{100 * self.bottom:.0f} %"
        )


def parse_box(values: object, size: tuple[int, int]) -> Box:
    """Check what should be a box in a picture of `size` (width, height). Raises InputError."""
    if (
        not isinstance(values, list | tuple)
        or len(values) != 4
        or not all(isinstance(one, int | float) for one in values)
    ):
        raise InputError("A part of a picture is four numbers: left, top, right, bottom.")
    try:
        box = Box(*(float(one) for one in values))
    except (ValueError, OverflowError):
        raise InputError("A part of a picture lies inside it: shares from 0 to 1.") from None
    _pixels(box, size)
    return box


def crop(picture: Image.Image, box: Box) -> Image.Image:
    """Cut a part out of a picture, as a new one. Raises InputError for too few pixels."""
    return picture.crop(_pixels(box, picture.size))


def draw_box(picture: Image.Image, box: Box) -> Image.Image:
    """Draw the frame of a part into a copy of a picture."""
    drawn = picture.copy()
    width, height = drawn.size
    line = max(2, round(max(width, height) / _LINES))
    left, top = round(box.left * width), round(box.top * height)
    right = max(left + 1, round(box.right * width) - 1)
    bottom = max(top + 1, round(box.bottom * height) - 1)
    pen = ImageDraw.Draw(drawn)
    for beyond, colour in ((line, _OUTSIDE), (0, _INSIDE)):
        around = left - beyond, top - beyond, right + beyond, bottom + beyond
        pen.rectangle(around, outline=colour, width=line)
    return drawn


def _pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the pixels of a part in a picture of `size`. Raises InputError for too few."""
    width, height = size
    left, top = round(box.left * width), round(box.top * height)
    right, bottom = round(box.right * width), round(box.bottom * height)
    if min(right - left, bottom - top) < LEAST:
        raise InputError(
            f"The part has {right - left} x {bottom - top} pixels: at least {LEAST} x {LEAST} are "
            "needed; mark more of the picture."
        )
    return left, top, right, bottom
