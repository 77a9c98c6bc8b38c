"""The closed set of answers that a fusion model classifies into."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from vqa.data.example import fold
from vqa.errors import InputError


class AnswerVocabulary:
    """The texts of all classes, in their order; matched in any case."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        self._classes = {fold(text): number for number, text in enumerate(texts)}

    def __len__(self) -> int:
        return len(self.texts)

    def index(self, text: str) -> int | None:
        """Return the class of a text; None where there is none."""
        return self._classes.get(fold(text))

    def soft_targets(self, accepted: Sequence[str]) -> dict[int, float]:
        """Distribute a row's vote over the classes of its accepted answers; may be empty.

        Of ten raters' answers each counts as often as it occurs.
        """
        counts = Counter(number for text in accepted if (number := self.index(text)) is not None)
        return {number: count / counts.total() for number, count in counts.items()}

    @classmethod
    def from_rows(
        cls, rows: Iterable[Sequence[str]], least: int, most: int | None
    ) -> AnswerVocabulary:
        """Take the answers that at least `least` rows accept, the `most` frequent of them.

        `rows` are the accepted answers of each training row; an answer takes its commonest
        spelling. Raises InputError where fewer than two are left: a classifier needs two classes.
        """
        counts: Counter[str] = Counter()
        spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for accepted in rows:
            for text in accepted:
                spellings[fold(text)][" ".join(text.split())] += 1
            counts.update({fold(text) for text in accepted})
        ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        frequent = [answer for answer, count in ranked if answer and count >= least][:most]
        if len(frequent) < 2:
            raise InputError(
                f"answers.least={least}: {len(frequent)} of {len(counts)} different answers are "
                "given that often, and a classifier needs two; lower it"
            )
        return cls([min(spellings[answer].most_common(), key=_first)[0] for answer in frequent])


def _first(spelling: tuple[str, int]) -> tuple[int, str]:
    """Sort by frequency, equals by the alphabet: the same on every machine."""
    return -spelling[1], spelling[0]
