"""Placeholders of pictures in a text: `<image>`, and the places of those that are pictures.

A text keeps its `<image>`, so that it can be read and counted as it was written; `places` are the
characters at which those begin that stand for pictures. Any other `<image>` is what somebody typed.
A message's pictures without a place stand before its text, and those with one are its last.
"""

from __future__ import annotations

from collections.abc import Sequence

PLACEHOLDER = "<image>"


def split_at_pictures(text: str, places: Sequence[int]) -> list[str]:
    """Split a text at its pictures: one piece more than there are places.

    Raises ValueError where the places do not rise or a placeholder does not begin at one of them.
    """
    pieces: list[str] = []
    start = 0
    for place in places:
        if place < start or not text.startswith(PLACEHOLDER, place):
            raise ValueError(f"no {PLACEHOLDER} begins at character {place} of the text")
        pieces.append(text[start:place])
        start = place + len(PLACEHOLDER)
    return [*pieces, text[start:]]


def join_with_pictures(pieces: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """Write a text whose pieces have a picture between them, and the places of the pictures."""
    text, places = pieces[0], []
    for piece in pieces[1:]:
        places.append(len(text))
        text += PLACEHOLDER + piece
    return text, tuple(places)


def message_parts(before: int, pieces: Sequence[str]) -> list[str | None]:
    """List the parts of a message: its texts, and None for each picture.

    `before` pictures stand before the text, and one between two pieces. An empty piece beside a
    picture of the text is no part.
    """
    parts: list[str | None] = [None] * before
    for number, piece in enumerate(pieces):
        parts += [None] * (number > 0)
        parts += [piece] if piece or len(pieces) == 1 else []
    return parts


def words_only(text: str, places: Sequence[int]) -> str:
    """Leave the pictures out of a text, for what reads its words alone."""
    return " ".join(split_at_pictures(text, places)) if places else text
