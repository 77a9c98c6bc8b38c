"""A number for each of millions of ids or names."""

from __future__ import annotations

from array import array
from hashlib import blake2b

_PARTS = 32  # each grows for itself, so that growing never doubles the memory
_START = 16


class KeyNumbers:
    """A map from keys to numbers from 0 to 2**32 - 1, in 16 to 24 bytes a key.

    A key is stored as a hash of 8 bytes, the same in every process. Two of three million keys share
    one with a probability of about 2e-7; the second would be taken for the first.
    """

    def __init__(self) -> None:
        self._hashes = [array("Q", bytes(8 * _START)) for _ in range(_PARTS)]
        self._numbers = [array("I", bytes(4 * _START)) for _ in range(_PARTS)]
        self._used = [0] * _PARTS

    def get(self, key: str | int) -> int | None:
        """Return the number of `key`, if it has one."""
        value = _hash(key)
        hashes = self._hashes[value % _PARTS]
        slot = _slot(hashes, value)
        return self._numbers[value % _PARTS][slot] if hashes[slot] else None

    def setdefault(self, key: str | int, number: int) -> int | None:
        """Return the number of `key`; where it has none, give it `number` and return None."""
        value = _hash(key)
        hashes = self._hashes[value % _PARTS]
        slot = _slot(hashes, value)
        if hashes[slot]:
            return self._numbers[value % _PARTS][slot]
        self._put(value, slot, number)
        return None

    def put(self, key: str | int, number: int) -> None:
        """Give `key` a number, or another one."""
        value = _hash(key)
        self._put(value, _slot(self._hashes[value % _PARTS], value), number)

    def _put(self, value: int, slot: int, number: int) -> None:
        part = value % _PARTS
        self._used[part] += not self._hashes[part][slot]
        self._hashes[part][slot], self._numbers[part][slot] = value, number
        if self._used[part] * 4 > len(self._hashes[part]) * 3:
            self._grow(part)

    def _grow(self, part: int) -> None:
        hashes, numbers = self._hashes[part], self._numbers[part]
        size = len(hashes) * 3 // 2
        self._hashes[part] = array("Q", bytes(8 * size))
        self._numbers[part] = array("I", bytes(4 * size))
        for value, number in zip(hashes, numbers, strict=True):
            if value:
                slot = _slot(self._hashes[part], value)
                self._hashes[part][slot], self._numbers[part][slot] = value, number


def _hash(key: str | int) -> int:
    # 7 and "7" are two keys
    text = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else b"\xff%d" % key
    return int.from_bytes(blake2b(text, digest_size=8).digest()) or 1  # 0 marks a free slot


def _slot(hashes: array[int], value: int) -> int:
    """Find the slot of `value`, or the free one where it belongs."""
    size = len(hashes)
    slot = (value // _PARTS) % size
    while hashes[slot] and hashes[slot] != value:
        slot = slot + 1 if slot + 1 < size else 0
    return slot
