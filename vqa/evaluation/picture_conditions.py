"""Conditions of a prediction run: a row's own pictures, blank ones, or another row's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vqa.errors import InputError
from vqa.utils import fingerprint

if TYPE_CHECKING:
    from PIL import Image

Condition = Literal["seen", "blind", "swap"]
OWN_PICTURE: Condition = "seen"  # the condition of an ordinary run, as files name it
Paths = tuple[Path, ...]
_GREY = (128, 128, 128)
_FINGERPRINTS = 4096  # several rows and a swap ask for one again; ten times the rows take no more
_BLANKS = 4  # large ones take 200 MB


class ConditionPictures:
    """Opens the pictures of rows under a condition; any thread may.

    `blind`: grey of the same size. `swap`: the pictures of another row, always the same one for
    given data, whose content differs. `rows` are the pictures of all rows, also of those that this
    run does not answer. Raises InputError where there is nothing to swap with.
    """

    def __init__(self, rows: Iterable[Paths], condition: Condition) -> None:
        self._condition = condition
        self._fingerprint = lru_cache(_FINGERPRINTS)(_fingerprint)
        self._blank = lru_cache(_BLANKS)(_blank)
        # by the number of pictures: the different rows, each with its place among them
        self._places: defaultdict[int, dict[Paths, int]] = defaultdict(dict)
        if condition == "swap":
            for images in rows:
                places = self._places[len(images)]
                places.setdefault(images, len(places))
            self._rows = {number: list(places) for number, places in self._places.items()}
            for number, distinct in self._rows.items():
                if number:  # when one has another to swap with, all of this number have
                    self.paths(distinct[0])

    def paths(self, images: Paths) -> Paths:
        """Return the files that are opened for a row with the pictures `images`."""
        if self._condition != "swap" or not images:
            return images
        rows = self._rows[len(images)]
        # half the data away: neighbours often show the same scene
        start = self._places[len(images)][images] + max(1, len(rows) // 2)
        fingerprints = [self._fingerprint(path) for path in images]
        for step in range(len(rows)):
            other = rows[(start + step) % len(rows)]
            if [self._fingerprint(path) for path in other] != fingerprints:
                return other
        raise InputError(f"`swap` needs different pictures; there is none to swap with {images[0]}")

    def fingerprints(self, images: Paths) -> list[str]:
        """Fingerprint each file that is opened for a row with the pictures `images`."""
        return [self._fingerprint(path) for path in self.paths(images)]

    def load(self, images: Paths) -> tuple[Image.Image, ...]:
        """Open the pictures for a row with the pictures `images`. Raises ImageError."""
        from vqa.inputs.images import load_image

        pictures = tuple(load_image(path) for path in self.paths(images))
        if self._condition == "blind":
            return tuple(self._blank(picture.size) for picture in pictures)
        return pictures


def _blank(size: tuple[int, int]) -> Image.Image:
    from PIL import Image

    return Image.new("RGB", size, _GREY)


def _fingerprint(path: Path) -> str:
    try:
        return fingerprint.of_file(path)
    except InputError:
        return "unreadable"
