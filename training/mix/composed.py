"""Composed pictures to count in: photos of single things put together on one canvas.

Boxes are scarce, and photos show one or two of most things. Here the number, 1 to 6, has nothing to
do with the kind of thing: only the picture tells it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path

from PIL import Image, ImageOps

from training.mix.picture import MarkedObject, Picture
from training.mix.questions.words import is_countable, is_plural
from vqa.inputs.images import load_image

SOURCE = "composed"
_SIDE = 320  # pixels of the square canvas
_MOST = 6  # of the thing that is counted
_MOST_OTHERS = 3
_ABSENT = 4  # kinds of thing that a picture is known not to show
# what a photo of a place may show too
_IN_PLACES = frozenset({"vehicle", "furniture", "plant", "person", "building"})
_COLORS = ("white", "white", "lightgray", "gray", "beige", "lightblue", "tan", "darkgreen")


@dataclass(frozen=True)
class Tile:
    """A photo on the canvas, in pixels."""

    path: Path
    left: int
    top: int
    side: int  # of the longer side


@dataclass(frozen=True)
class Scene:
    """A composed picture before it is drawn, and what is known of it."""

    picture: Picture
    background: Path | str  # a photo, or a colour's name
    tiles: tuple[Tile, ...]


def scenes(
    things: Sequence[Picture], places: Sequence[Picture], count: int, rng: random.Random
) -> list[Scene]:
    """Plan `count` pictures of the labelled `things`, many of them before photos of `places`."""
    of_name: defaultdict[str, list[Picture]] = defaultdict(list)
    in_places: set[str] = set()
    for thing in things:
        if thing.label is not None and _can_be_counted(thing.label.everyday):
            of_name[thing.label.everyday].append(thing)
            if thing.label.category in _IN_PLACES:
                in_places.add(thing.label.everyday)
    names = sorted(name for name, group in of_name.items() if len(group) >= _MOST)
    if len(names) < 2 + _ABSENT:
        return []
    planned = []
    for index in range(count):
        name, other, *absent = rng.sample(names, k=2 + _ABSENT)
        many = {name: 1 + index % _MOST, other: rng.randint(0, _MOST_OTHERS)}
        shown = [thing for one, n in many.items() for thing in rng.sample(of_name[one], k=n)]
        rng.shuffle(shown)
        tiles, cell = _placed(shown, rng)
        area = (cell / _SIDE) ** 2
        picture = Picture(
            Path(SOURCE) / f"{index:05}.jpg",
            SOURCE,
            official_split="train",
            boxes=tuple(MarkedObject(one, area) for one, n in many.items() for _ in range(n)),
            annotated=frozenset((name, other, *absent)),
        )
        with_photo = places and in_places.isdisjoint(many) and rng.random() < 0.6
        background = rng.choice(places).path if with_photo else rng.choice(_COLORS)
        planned.append(Scene(picture, background, tiles))
    return planned


def _can_be_counted(name: str) -> bool:
    return is_countable(name) and not is_plural(name)


def _placed(shown: Sequence[Picture], rng: random.Random) -> tuple[tuple[Tile, ...], int]:
    """Put each photo into a cell of a grid, a little smaller than it; return a cell's side too."""
    grid = max(2, ceil(sqrt(len(shown)))) + rng.randint(0, 1)
    cell = _SIDE // grid
    tiles = []
    for thing, place in zip(shown, rng.sample(range(grid * grid), k=len(shown)), strict=True):
        side = round(cell * rng.uniform(0.7, 0.98))
        row, column = divmod(place, grid)
        left = column * cell + rng.randint(0, cell - side)
        top = row * cell + rng.randint(0, cell - side)
        tiles.append(Tile(thing.path, left, top, side))
    return tuple(tiles), cell


def draw(scene: Scene) -> Image.Image:
    """Draw a planned picture, RGB."""
    if isinstance(scene.background, str):
        canvas = Image.new("RGB", (_SIDE, _SIDE), scene.background)
    else:
        canvas = ImageOps.fit(load_image(scene.background), (_SIDE, _SIDE))
    for tile in scene.tiles:
        photo = ImageOps.contain(load_image(tile.path), (tile.side, tile.side))
        canvas.paste(photo, (tile.left, tile.top))
    return canvas
