"""What language a question is in, as far as its letters tell."""

from __future__ import annotations

import unicodedata


def is_foreign(text: str) -> bool:
    """Whether a text is written in other letters than Latin ones, mostly."""
    letters = [char for char in text if char.isalpha()]
    other = sum(not unicodedata.name(char, "").startswith("LATIN") for char in letters)
    return 2 * other > len(letters)
