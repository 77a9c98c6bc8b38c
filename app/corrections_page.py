"""What people said of answers."""

from __future__ import annotations


def show() -> None:
    """Draw the page."""
