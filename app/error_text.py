"""What an error says to whoever looks at the page."""

from __future__ import annotations

import os

from app.state import directory, is_local


def error_text(error: Exception) -> str:
    """Write an error for the page; guests are not told where conversations lie."""
    words = str(error)
    return words if is_local() else words.replace(f"{directory()}{os.sep}", "")
