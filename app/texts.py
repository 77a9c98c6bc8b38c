"""The texts of the page in its languages, times in the browser's zone, and texts of others."""

from __future__ import annotations

import re
import string
import unicodedata
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st
import yaml

from vqa.utils.inert import visible

LANGUAGES = {"en": "English", "zh": "中文"}
_MARKS = frozenset(string.punctuation)  # all that Markdown lets a backslash stand before
# Where a word joiner, which nobody sees, keeps Streamlit from making links, arrows and its own
# sign: it looks for them in the text after the backslashes are gone.
_APART = re.compile(
    r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)|(?<=:)(?=streamlit:)|(?<=[-<>~])(?=[-=>])", re.IGNORECASE
)
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)", re.DOTALL)
_DIRECTIVE = re.compile(
    r"(?<!\\)((?:\\\\)*)\\?:(?=[a-z]|[^\x00-\x7f])", re.I
)  # :red[..], :material/..:


@cache
def catalogue(language: str) -> dict[str, Any]:
    """All texts of a language, by section and name."""
    path = Path(__file__).parent / "texts" / f"{language}.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def language() -> str:
    """Return the chosen language, else the browser's, if the page has it, else English."""
    chosen = st.session_state.get("language") or st.query_params.get("lang")
    if chosen in LANGUAGES:
        return str(chosen)
    return "zh" if str(st.context.locale or "").lower().startswith("zh") else "en"


def text(key: str, **values: object) -> str:
    """Return the text `section.name` in the language of the page, with `values` filled in."""
    return text_in(language(), key, **values)


def text_in(language: str, key: str, **values: object) -> str:
    """Return such a text in a language."""
    return str(_entry(language, key)).format(**values)


def entry(key: str) -> Any:
    """Return what the catalogue has under `section.name`: a text, or a list of them."""
    return _entry(language(), key)


def _entry(language: str, key: str) -> Any:
    value: Any = catalogue(language)
    for name in key.split("."):
        value = value[name]
    return value


def is_mostly_foreign(words: str) -> bool:
    """Return whether most letters of a text are no Latin ones."""
    letters = [char for char in words if char.isalpha()]
    foreign = sum(not unicodedata.name(char, "").startswith("LATIN") for char in letters)
    return 2 * foreign > len(letters)


def local_time(moment: datetime) -> datetime:
    """Convert a moment to the browser's time zone, or leave it where that is unknown."""
    try:
        return moment.astimezone(ZoneInfo(st.context.timezone or "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: "America" is a folder of zones
        return moment


def language_picker() -> None:
    """Draw the choice of the language. It goes into the address, and so survives a reload."""

    def choose() -> None:
        st.session_state.language = st.query_params["lang"] = st.session_state.language_choice

    names = list(LANGUAGES)
    st.selectbox(
        text("language"),
        names,
        index=names.index(language()),
        format_func=LANGUAGES.__getitem__,
        key="language_choice",
        on_change=choose,
    )


def plain(words: str) -> str:
    """Escape a text as Markdown that shows it as it is: nothing in it is a link or a picture."""
    return "  \n".join(map(_plain_line, words.splitlines()))


def without_marks(words: str) -> str:
    """Leave out what Markdown might take for its own, of a name that is only read out."""
    return visible("".join(" " if char in _MARKS else char for char in words))


def _plain_line(line: str) -> str:
    words = line.lstrip()
    indent = "\u00a0" * (len(line) - len(words))  # four spaces would make it code
    words = _APART.sub("\u2060", words)
    return indent + "".join(f"\\{char}" if char in _MARKS else char for char in words)


def formatted(words: str) -> str:
    """Let a text of others keep its Markdown, but not what is fetched, run, or the page's own.

    Pictures become links, `$` is money, tags and Streamlit's colours and icons stay the words they
    are. Streamlit itself takes the address from a link that runs a script.
    """
    lines = visible("\n".join(words.splitlines())).replace("![", "!\u2060[")
    parts = _CODE.split(lines)
    return "".join(part if at % 2 else _prose(part) for at, part in enumerate(parts))


def _prose(words: str) -> str:
    # neither a directive, which a backslash ends, nor an icon, which is looked for after that
    words = _DIRECTIVE.sub("\\g<1>\\\\:\u2060", words).replace("\n", "  \n")
    return re.sub(r"[$<]", r"\\\g<0>", words)
