"""How texts are compared where their spelling does not count."""

from __future__ import annotations


def plain(text: str) -> str:
    """The text as it is counted: lower case, single spaces, no mark at its end."""
    found = " ".join(text.casefold().split())
    return found.rstrip(".?! ") or found
