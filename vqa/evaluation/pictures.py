"""Which pictures a question is asked with: its own, a blank one, or another row's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vqa import fingerprint
from vqa.data.example import Example
from vqa.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Condition = Literal["seen", "blind", "swap"]
_GREY = (128, 128, 128)
_KEPT_OPEN = 4  # large ones take 200 MB; rows of one picture mostly follow each other


class Pictures:
    """Opens the pictures of rows under a condition.

    `blind`: grey of the same size. `swap`: the pictures of another row, always the same one for
    given data, whose file differs.
    """

    def __init__(self, examples: Sequence[Example], condition: Condition) -> None:
        self.condition = condition
        self._print = cache(_file)
        self._others = _swapped(examples, self._print) if condition == "swap" else {}
        self._open = lru_cache(maxsize=_KEPT_OPEN)(_load)

    def paths(self, example: Example) -> tuple[Path, ...]:
        """The files that are opened for the row."""
        own = tuple(Path(image) for image in example.images)
        return self._others[own] if self.condition == "swap" and own else own

    def identity(self, example: Example) -> list[str]:
        """What the pictures are: a fingerprint of each file, and whether they are shown blank."""
        return [self.condition, *(self._print(path) for path in self.paths(example))]

    def load(self, example: Example) -> tuple[Image.Image, ...]:
        """The pictures. Raises ImageError where one cannot be read."""
        from PIL import Image

        pictures = tuple(self._open(path) for path in self.paths(example))
        if self.condition == "blind":
            return tuple(Image.new("RGB", picture.size, _GREY) for picture in pictures)
        return pictures


def _load(path: Path) -> Image.Image:
    from vqa.images import load_image

    return load_image(path)


def _file(path: Path) -> str:
    try:
        return fingerprint.of_file(path)
    except InputError:
        return "unreadable"


def _swapped(
    examples: Sequence[Example], identity: Callable[[Path], str]
) -> dict[tuple[Path, ...], tuple[Path, ...]]:
    """For each row's pictures those of another row, of equal number and half the data away."""
    by_number: defaultdict[int, list[tuple[Path, ...]]] = defaultdict(list)
    for images in dict.fromkeys(tuple(Path(i) for i in e.images) for e in examples):
        by_number[len(images)].append(images)
    others: dict[tuple[Path, ...], tuple[Path, ...]] = {}
    for number, found in by_number.items():
        for index, images in enumerate(found):
            if not number:
                continue
            start = index + max(1, len(found) // 2)
            candidates = (found[(start + step) % len(found)] for step in range(len(found)))
            own = [identity(path) for path in images]
            other = next((c for c in candidates if [identity(path) for path in c] != own), None)
            if other is None:
                raise InputError(
                    f"--swap needs different pictures; there is none to swap with {images[0]}"
                )
            others[images] = other
    return others
