"""Many questions at once."""

from __future__ import annotations


def show() -> None:
    """Draw the page."""
