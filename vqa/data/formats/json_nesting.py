"""Find where a value of JSON ends by its brackets alone, where it cannot be read or is huge."""

from __future__ import annotations

import numpy as np

_FEW, _PIECE = 1 << 10, 1 << 20  # characters at once, at first and later
_STEPS = np.zeros(256, np.int8)  # how a character changes the depth
_STEPS[[ord("{"), ord("[")]] = 1
_STEPS[[ord("}"), ord("]")]] = -1
_QUOTE, _COMMA = ord('"'), ord(",")


class Nesting:
    """Follows how deep the text of a value is nested, piece by piece."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False  # whether the last piece has ended within a text
        self._escape = ""  # a backslash at its end, which belongs to the next character

    def end(self, text: str, start: int, stop: int) -> int | None:
        """Return the place of the comma or bracket that ends the value, from `start` to `stop`.

        None where it is not there: then what follows `stop` is the next piece.
        """
        size = _FEW  # most values are small
        while start < stop:
            piece = text[start : min(stop, start + size)]
            place = self._end(piece)
            if place is not None:
                return start + place
            start, size = start + len(piece), min(2 * size, _PIECE)
        return None

    def _end(self, piece: str) -> int | None:
        shift = len(self._escape)
        plain = (self._escape + piece).replace("\\\\", "__").replace('\\"', "__")
        self._escape = "\\" if plain.endswith("\\") else ""
        if self._quoted and '"' not in plain:
            return None
        codes = np.frombuffer(plain.encode("latin-1", "replace"), np.uint8)
        quotes = np.cumsum(codes == _QUOTE, dtype=np.int32) + self._quoted
        outside = quotes % 2 == 0
        depth = np.cumsum(_STEPS[codes] * outside, dtype=np.int32) + self._depth
        ends = (depth < 0) | ((codes == _COMMA) & (depth == 0) & outside)
        place = int(ends.argmax())
        if ends[place]:
            return place - shift
        self._depth, self._quoted = int(depth[-1]), not outside[-1]
        return None
