"""What a data set knows of one picture: what readers yield and questions are made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MarkedObject:
    """An object that a box marks in a picture. `crowd`: the box holds an unknown number of them."""

    name: str
    area: float  # share of the picture, 0 to 1
    crowd: bool = False


@dataclass(frozen=True)
class Label:
    """What a picture of one object shows.

    `name` is the exact name (tabby cat), `everyday` the word that most people would say (cat),
    `category` the kind of thing (animal), `synonyms` further accepted names.
    """

    name: str
    everyday: str
    category: str = ""
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture and all that its data set says about it."""

    path: Path
    source: str  # name of the data set
    group: str = ""  # pictures of one group are too much alike to be split; empty: alone
    official_split: str = ""  # as the data set's own lists say: train, dev, test
    captions: tuple[str, ...] = ()
    boxes: tuple[MarkedObject, ...] = ()
    annotated: frozenset[str] = frozenset()  # objects that are marked wherever they occur
    label: Label | None = None
    scene: str = ""  # kind of place, as the data set calls it
    questions: tuple[tuple[str, str], ...] = ()  # people's questions with their answers
    asked: tuple[tuple[str, tuple[str, ...]], ...] = ()  # the same, with the answers of several
    counted: tuple[tuple[str, int], ...] = ()  # all of some kinds of things, and how many
    kinds: frozenset[str] = frozenset()  # the kinds that were counted: others are not there
    condition: str = ""  # `weather:rainy`, `material:glass`
