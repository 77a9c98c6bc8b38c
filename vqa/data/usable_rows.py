"""The rows of a file that can be used with their pictures, for what writes rows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from vqa.data.example import Example
from vqa.data.reading import read
from vqa.data.row_reader import BadRow, Notice

if TYPE_CHECKING:
    from vqa.data.picture_check import PictureCheck


class UsableRows:
    """The good rows of `source` in their order, read again on each iteration.

    `bad` has the others with their reasons; a picture that cannot be opened is in it once, with the
    first row that names it. `left_out` is the number of rows that are not good.
    """

    def __init__(
        self,
        source: Path,
        root: Path,
        *,
        need_answers: bool,
        open_pictures: bool,
        notice: Callable[[Notice], None],
        check: Callable[[Example], None] = lambda example: None,
    ) -> None:
        """Read all rows. `check` raises ValueError for one that cannot be used, and why."""
        self._source, self._root, self._need_answers = source, root, need_answers
        self._refused: set[int] = set()  # lines
        self._broken: frozenset[str] = frozenset()  # paths of pictures
        self.bad: list[BadRow] = []
        self._count = 0
        rows = read(source, root, need_answers=need_answers, bad=self.bad.append, notice=notice)
        with _check() if open_pictures else nullcontext() as pictures:
            for example in rows:
                try:
                    check(example)
                except ValueError as error:
                    self._refused.add(example.line)
                    self.bad.append(BadRow(example.line, str(error), example.id))
                    continue
                self._count += 1
                if pictures is not None:
                    pictures.add(example)
        self.left_out = len(self.bad)
        broken = list(pictures.broken()) if pictures is not None else []
        if broken:
            self._broken = frozenset(picture.path for picture in broken)
            bad = [*self.bad, *(picture.row for picture in broken)]
            self.bad = sorted(bad, key=lambda row: row.line)
            count = sum(1 for _ in self)
            self.left_out += self._count - count
            self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Example]:
        rows = read(self._source, self._root, need_answers=self._need_answers, bad=lambda row: None)
        for example in rows:
            broken = not self._broken.isdisjoint(map(str, example.images))
            if not broken and example.line not in self._refused:
                yield example


def _check() -> PictureCheck:
    from vqa.data.picture_check import PictureCheck  # brings numpy and pillow

    return PictureCheck(prints=False)
