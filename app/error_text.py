"""What an error says on the page: in its language, and to guests without the server's paths."""

from __future__ import annotations

import os
import re
from functools import cache, lru_cache
from pathlib import Path

import yaml

from app.state import directory, is_local
from app.texts import language

_CATALOGUE = Path(__file__).parent / "texts" / "errors.zh.yaml"
_TEXTS = frozenset(["file", "folder", "format", "formats", "model", "name", "text", "why"])
_ROW = "{file}:{line}: {why}"
_LONGEST = 500  # characters of a message that is looked up: patterns take time


def error_text(error: Exception) -> str:
    """Write an error for the page, as `message_text` does."""
    return message_text(str(error))


def message_text(words: str) -> str:
    """Write a message of the library for the page, as `message_in` does."""
    return message_in(language(), words)


def message_in(language: str, words: str) -> str:
    """Write a message of the library in a language, in English where it has none there.

    For guests it has no path of the directory in which conversations are stored.
    """
    if not is_local():
        place = str(directory())
        words = words.replace(f"{place}{os.sep}", "").replace(place, "...")
    if language != "zh":
        return words
    rows = [_translated(part) for part in words.split("; ")]  # of a file, each with its reason
    return "；".join(filter(None, rows)) if all(rows) else _translated(words) or words


@lru_cache(maxsize=1024)
def _translated(words: str) -> str | None:
    """Translate a message, and what it says of the reason; None where the catalogue has none."""
    if len(words) > _LONGEST:
        return None
    for pattern, translation in _messages():
        if match := pattern.fullmatch(words):
            parts = match.groupdict()
            for name, part in parts.items():
                if name == "why" or part.startswith("The "):  # has no name of its own
                    parts[name] = _translated(part) or part
            return translation.format(**parts)
    return None


@cache
def _messages() -> list[tuple[re.Pattern[str], str]]:
    """Return the patterns of all messages with their translations, the most telling first.

    Before them comes a row of a file, whose reason is looked up by itself.
    """
    catalogue = yaml.safe_load(_CATALOGUE.read_text(encoding="utf-8"))
    templates = sorted(catalogue, key=lambda one: len(re.sub(r"{\w+}", "", one)), reverse=True)
    templates.sort(key=_ROW.__ne__)
    return [(_pattern(one), catalogue[one]) for one in templates]


def _pattern(template: str) -> re.Pattern[str]:
    """Make the pattern of a message with its {parts}."""
    pieces = re.split(r"{(\w+)}", template)
    for at in range(1, len(pieces), 2):
        pieces[at] = f"(?P<{pieces[at]}>{_part(pieces[at])})"
    pieces[::2] = map(re.escape, pieces[::2])
    return re.compile("".join(pieces), re.DOTALL)


def _part(name: str) -> str:
    """Return the pattern of a part: any text, the number of a line, or one word or number."""
    return ".+?" if name in _TEXTS else r"\d+" if name == "line" else "[^ ]{1,40}?"
