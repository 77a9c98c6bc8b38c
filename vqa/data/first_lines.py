"""Where each id of a file came first, for files of millions of rows."""

from __future__ import annotations

from array import array

_PARTS = 32  # each grows for itself, so that growing never doubles the memory
_START = 16
_ALL_BITS = (1 << 64) - 1


class FirstLines:
    """The first line of each id, in 16 to 24 bytes an id.

    An id is kept as a hash of 8 bytes. Two of three million ids share one with a probability of
    about 2e-7; the second would be taken for the first.
    """

    def __init__(self) -> None:
        self._hashes = [array("Q", bytes(8 * _START)) for _ in range(_PARTS)]
        self._lines = [array("I", bytes(4 * _START)) for _ in range(_PARTS)]
        self._used = [0] * _PARTS

    def line_of(self, key: str | int) -> int | None:
        """The line that was noted for `key`."""
        value = _hash(key)
        hashes = self._hashes[value % _PARTS]
        slot = _slot(hashes, value)
        return self._lines[value % _PARTS][slot] if hashes[slot] else None

    def note(self, key: str | int, line: int) -> None:
        """Note the line of a key that has none yet."""
        value = _hash(key)
        part = value % _PARTS
        slot = _slot(self._hashes[part], value)
        self._hashes[part][slot], self._lines[part][slot] = value, line
        self._used[part] += 1
        if self._used[part] * 4 > len(self._hashes[part]) * 3:
            self._grow(part)

    def _grow(self, part: int) -> None:
        before, lines = self._hashes[part], self._lines[part]
        size = len(before) * 3 // 2
        self._hashes[part] = array("Q", bytes(8 * size))
        self._lines[part] = array("I", bytes(4 * size))
        for value, line in zip(before, lines, strict=True):
            if value:
                slot = _slot(self._hashes[part], value)
                self._hashes[part][slot], self._lines[part][slot] = value, line


def _hash(key: str | int) -> int:
    # a tuple of one text for a number: 7 and "7" are two ids, and -1 and -2 have one hash in Python
    value = hash(key) if isinstance(key, str) else hash((str(key),))
    return (value & _ALL_BITS) or 1  # 0 marks a free slot


def _slot(hashes: array[int], value: int) -> int:
    """The slot of `value`, or the free one where it belongs."""
    size = len(hashes)
    slot = (value // _PARTS) % size
    while hashes[slot] and hashes[slot] != value:
        slot = slot + 1 if slot + 1 < size else 0
    return slot
