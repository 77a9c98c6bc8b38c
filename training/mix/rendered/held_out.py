"""Draws of words, fonts and layouts, of which some are for validation alone."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from training.mix.tables import document
from vqa.models.name_classifier import class_names

_SHARE = 5  # one of so many is held out

T = TypeVar("T")


@cache
def _words(name: str) -> Sequence[str]:
    words: Sequence[str] = class_names(1000) if name == "things" else document("written")[name]
    return words


class Draw:
    """Draws at random on one side of the split: the last fifth of each list is never trained on."""

    def __init__(self, rng: random.Random, held_out: bool) -> None:
        self.rng = rng
        self.held_out = held_out

    def one(self, options: Sequence[T]) -> T:
        """Draw one of this side's options; of a list of one, that one."""
        return self.rng.choice(self.side(options))

    def side(self, options: Sequence[T]) -> Sequence[T]:
        """Return the options of this side."""
        if len(options) < 2:
            return options
        cut = len(options) - max(1, len(options) // _SHARE)
        return options[cut:] if self.held_out else options[:cut]

    def word(self, name: str) -> str:
        """Draw from a list of words; lists that are named in it are drawn from, too."""
        return self._filled(self.one(_words(name)))

    def words(self, name: str, count: int) -> list[str]:
        """Draw different ones, `count` or as many as many draws give."""
        drawn = dict.fromkeys(self.word(name) for _ in range(4 * count))
        return list(drawn)[:count]

    def _filled(self, text: str) -> str:
        text = text.replace("{n}", str(self.rng.randint(2, 60)))
        return re.sub(r"\{(\w+)\}", lambda match: self._written_as(match[1]), text)

    def _written_as(self, name: str) -> str:
        word = self.word(name.lower())
        return word.upper() if name.isupper() else word.title() if name[0].isupper() else word

    def chance(self, share: float) -> bool:
        """Draw true in this share of the cases."""
        return self.rng.random() < share
