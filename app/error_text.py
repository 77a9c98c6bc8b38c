"""What an error says on the page: in its language, and to guests without the server's paths."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import yaml

from app.state import directory, is_local
from app.texts import language

_LONGEST = 2000  # characters of a message that is looked up
_CATALOGUE = Path(__file__).parent / "texts" / "errors.zh.yaml"


def error_text(error: Exception) -> str:
    """Write an error for the page; guests are not told where conversations lie."""
    words = str(error)
    if not is_local():
        words = words.replace(f"{directory()}{os.sep}", "")
    return message_text(words)


def message_text(words: str) -> str:
    """Return a message of the library in the language of the page, in English where it has none."""
    if language() != "zh" or len(words) > _LONGEST:
        return words
    return _translated(words) or words


def _translated(words: str) -> str | None:
    """Translate a message, and the messages in it; None where the catalogue has none like it."""
    for pattern, translation in _messages():
        match = pattern.fullmatch(words)
        if match is None:
            continue
        parts = {name: (part, _translated(part)) for name, part in match.groupdict().items()}
        if "what" in parts and parts["what"][1] is None:
            continue
        return translation.format(**{name: new or part for name, (part, new) in parts.items()})
    return None


@cache
def _messages() -> list[tuple[re.Pattern[str], str]]:
    """Return the patterns of all messages with their translations, the most telling first."""
    catalogue = yaml.safe_load(_CATALOGUE.read_text(encoding="utf-8"))
    templates = sorted(catalogue, key=lambda one: len(re.sub(r"{\w+}", "", one)), reverse=True)
    return [(_pattern(one), catalogue[one]) for one in templates]


def _pattern(template: str) -> re.Pattern[str]:
    """Make the pattern of a message, its {parts} of any characters."""
    pieces = re.split(r"{(\w+)}", template)
    return re.compile(
        "".join(f"(?P<{one}>.+?)" if at % 2 else re.escape(one) for at, one in enumerate(pieces)),
        re.DOTALL,
    )
