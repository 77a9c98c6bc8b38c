"""Titles of conversations: made of the first question, or given by a person."""

from __future__ import annotations

import unicodedata

from vqa.errors import InputError

MAX_TITLE = 100  # characters of a title that a person gives
_MADE = 60  # of one that is made


def title_of(question: str) -> str:
    """Make a title of a question: how it begins, in one line."""
    return _one_line(question)[:_MADE]


def checked_title(title: str) -> str:
    """Put a given title into one line. Raises InputError for an empty or too long one."""
    title = _one_line(title)
    if all(unicodedata.category(char)[0] in "CZ" for char in title):  # nothing that anybody sees
        raise InputError("the title is empty: give it at least one letter or sign.")
    if len(title) > MAX_TITLE:
        raise InputError(f"the title has {len(title):,} characters: at most {MAX_TITLE} are taken.")
    return title


def _one_line(words: str) -> str:
    return " ".join(words.split())
