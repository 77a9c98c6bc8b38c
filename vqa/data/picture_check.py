"""Open the pictures of a file, each once, in threads, while its rows are read."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqa.data.example import Example
from vqa.data.key_numbers import KeyNumbers
from vqa.data.row_reader import BadRow
from vqa.errors import InputError
from vqa.inputs.images import load_image

_THREADS = min(8, os.cpu_count() or 1)
_WAITING = 16 * _THREADS


@dataclass(frozen=True)
class BrokenPicture:
    """A picture that cannot be opened."""

    path: str
    line: int  # of the first row that names it
    id: str | int
    rows: int  # that name it
    reason: str

    @property
    def row(self) -> BadRow:
        """The first row that names it, with the reason and the number of the others."""
        others = f" ({self.rows} rows name it)" if self.rows > 1 else ""
        return BadRow(self.line, f"{self.reason}{others}", self.id)


@dataclass(frozen=True)
class _Opened:
    number: int
    id: str | int
    path: Path
    digest: Future[int]


class PictureCheck:
    """Opens the pictures of the rows that are added; has at the end those that are broken.

    `with` waits for the last of them at its end, or stops where that was an exception.

    About 30 bytes a picture, and 8 more with `prints`, hashes of pixels.
    """

    def __init__(self, prints: bool) -> None:
        self._numbers = KeyNumbers()  # of pictures, by path
        self._lines, self._rows, self._prints = array("I"), array("I"), array("Q")
        self._with_prints = prints
        self._pool = ThreadPoolExecutor(_THREADS)
        self._waiting: deque[_Opened] = deque()
        self._broken: dict[int, tuple[Path, str | int, str]] = {}

    def __enter__(self) -> PictureCheck:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self.finish()
        else:
            self.stop()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, example: Example) -> None:
        """Open those pictures of a row that no earlier row has."""
        for image in dict.fromkeys(example.images):
            number = len(self._lines)
            known = self._numbers.setdefault(str(image), number)
            if known is not None:
                self._rows[known] += 1
                continue
            self._lines.append(example.line)
            self._rows.append(1)
            self._prints.append(0)
            digest = self._pool.submit(_open, Path(image), self._with_prints)
            self._waiting.append(_Opened(number, example.id, Path(image), digest))
            if len(self._waiting) > _WAITING:
                self._collect()

    def finish(self) -> None:
        """Wait for the pictures that are being opened."""
        while self._waiting:
            self._collect()
        self._pool.shutdown()

    def stop(self) -> None:
        """Open no more of them: the check was interrupted."""
        self._pool.shutdown(cancel_futures=True)

    def broken(self) -> Iterator[BrokenPicture]:
        """Yield the pictures that cannot be opened, in the order of the rows."""
        for number, (path, key, reason) in sorted(self._broken.items()):
            yield BrokenPicture(str(path), self._lines[number], key, self._rows[number], reason)

    def also_in(self, other: PictureCheck) -> Iterator[tuple[int, int]]:
        """Yield the lines of pictures that `other` has too: the first here, and the first there."""
        if not len(other):
            return
        theirs = np.frombuffer(other._prints, dtype=np.uint64)
        order = theirs.argsort(kind="stable")
        for number, print_ in enumerate(self._prints):
            place = int(theirs.searchsorted(np.uint64(print_), sorter=order))
            if print_ and place < len(order) and int(theirs[order[place]]) == print_:
                yield self._lines[number], other._lines[int(order[place])]

    def _collect(self) -> None:
        opened = self._waiting.popleft()
        try:
            self._prints[opened.number] = opened.digest.result()
        except InputError as error:
            self._broken[opened.number] = (opened.path, opened.id, str(error))


def _open(path: Path, with_print: bool) -> int:
    picture = load_image(path)
    if not with_print:
        return 0
    digest = hashlib.blake2b(f"{picture.width}x{picture.height} ".encode(), digest_size=8)
    digest.update(picture.tobytes())
    return int.from_bytes(digest.digest()) or 1  # 0 is what could not be opened
