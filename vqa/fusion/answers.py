"""The closed set of answers: which there are, and what a row's accepted answers say of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from vqa.data.wording import plain
from vqa.errors import InputError


class Answers:
    """Texts that can be answered, in the order of their classes; found whatever their case."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        self._numbers = {plain(text): number for number, text in enumerate(texts)}

    def __len__(self) -> int:
        return len(self.texts)

    def find(self, text: str) -> int | None:
        """The class of a text, if it is one."""
        return self._numbers.get(plain(text))

    def shares(self, accepted: Sequence[str]) -> dict[int, float]:
        """How a row's accepted answers share its vote among the classes; empty where none is one.

        Of ten raters' answers each counts as often as it was given.
        """
        found = Counter(number for text in accepted if (number := self.find(text)) is not None)
        return {number: count / found.total() for number, count in found.items()}

    @classmethod
    def of(cls, rows: Iterable[Sequence[str]], least: int, most: int | None) -> Answers:
        """The answers that at least `least` rows accept, the `most` frequent of them.

        `rows` are the accepted answers of each training row; an answer takes its commonest
        spelling. Raises InputError where fewer than two are left: there is nothing to choose from.
        """
        counts: Counter[str] = Counter()
        spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for accepted in rows:
            for text in accepted:
                spellings[plain(text)][" ".join(text.split())] += 1
            counts.update({plain(text) for text in accepted})
        ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        kept = [answer for answer, count in ranked if answer and count >= least][:most]
        if len(kept) < 2:
            raise InputError(
                f"answers.least={least}: {len(kept)} of {len(counts)} different answers are given "
                "that often, and a classifier needs two; lower it"
            )
        return cls([min(spellings[answer].most_common(), key=_first)[0] for answer in kept])


def _first(spelling: tuple[str, int]) -> tuple[int, str]:
    """The commonest first, of equals by the alphabet: the same on every machine."""
    return -spelling[1], spelling[0]
