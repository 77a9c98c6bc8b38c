"""Lines of text in a picture, and the order in which people read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

_PROSE = 16  # characters of a column's usual line; a table's cells are shorter
_COLUMN = 3  # lines of a column at least


@dataclass(frozen=True)
class TextLine:
    """A line of text, and where it stands: pixels of the picture from its upper left corner."""

    text: str
    confidence: float  # of the reading, from 0 to 1
    corners: tuple[tuple[float, float], ...]  # four, from the line's beginning on clockwise

    @property
    def left(self) -> float:
        """The least x."""
        return min(x for x, _ in self.corners)

    @property
    def right(self) -> float:
        """The largest x."""
        return max(x for x, _ in self.corners)

    @property
    def top(self) -> float:
        """The least y."""
        return min(y for _, y in self.corners)

    @property
    def bottom(self) -> float:
        """The largest y."""
        return max(y for _, y in self.corners)

    @property
    def height(self) -> float:
        """The size of its letters, in pixels."""
        (x0, y0), _, _, (x1, y1) = self.corners
        return float(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)


def reading_order(lines: Sequence[TextLine]) -> list[list[TextLine]]:
    """Order lines as people read them: rows from top to bottom, each from left to right.

    Columns of prose are read one after the other; what stands side by side in short pieces, as an
    item and its price, is one row.
    """
    parts = _columns(lines)
    return [row for part in parts for row in reading_order(part)] if parts else _rows(lines)


def _columns(lines: Sequence[TextLine]) -> list[list[TextLine]]:
    """Split lines at the widest empty strip between two columns of prose; [] where there is none.

    What crosses the strip, as a title over both columns, stands above or below them.
    """
    best: tuple[float, list[list[TextLine]]] = (0.0, [])
    for edge in {line.right for line in lines}:
        left = [line for line in lines if line.right <= edge]
        right = [line for line in lines if line.left > edge]
        if not (_is_prose(left) and _is_prose(right)):
            continue
        middle = [line for line in lines if line.left <= edge < line.right]
        top = min(line.top for line in (*left, *right))
        bottom = max(line.bottom for line in (*left, *right))
        above = [line for line in middle if line.bottom <= top + line.height / 2]
        below = [line for line in middle if line.top >= bottom - line.height / 2]
        gap = min(line.left for line in right) - edge
        if len(above) + len(below) == len(middle) and gap > best[0]:
            parts = [above, left, right, below]
            best = gap, [part for part in parts if part]
    return best[1]


def _is_prose(lines: Sequence[TextLine]) -> bool:
    return len(lines) >= _COLUMN and median(len(line.text) for line in lines) >= _PROSE


def _rows(lines: Sequence[TextLine]) -> list[list[TextLine]]:
    """Join lines into rows: of one row is what overlaps by half of the smaller height."""
    rows: list[list[TextLine]] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        for row in rows[-2:]:
            overlap = min(row[0].bottom, line.bottom) - max(row[0].top, line.top)
            smaller = min(row[0].bottom - row[0].top, line.bottom - line.top)
            if overlap > smaller / 2:
                row.append(line)
                break
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.left) for row in rows]
