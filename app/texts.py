"""The texts of the page in its languages, and which one is shown."""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
import yaml

LANGUAGES = {"en": "English", "zh": "中文"}
_MARKS = frozenset(string.punctuation)  # all that Markdown lets a backslash stand before


@cache
def catalogue(language: str) -> dict[str, Any]:
    """All texts of a language, by section and name."""
    path = Path(__file__).parent / "texts" / f"{language}.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def language() -> str:
    """The language that was chosen, else the browser's first one that is known, else English."""
    chosen = st.session_state.get("language") or st.query_params.get("lang")
    if chosen in LANGUAGES:
        return str(chosen)
    return "zh" if str(st.context.locale or "").lower().startswith("zh") else "en"


def text(key: str, **values: object) -> str:
    """The text `section.name` in the language of the page, with `values` filled in."""
    return str(entry(key)).format(**values)


def entry(key: str) -> Any:
    """What stands in the catalogue under `section.name`: a text, or a list of them."""
    found: Any = catalogue(language())
    for name in key.split("."):
        found = found[name]
    return found


def language_picker() -> None:
    """The choice of the language. It goes into the address, so that it survives a reload."""

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


def plain(said: str) -> str:
    """A text as Markdown that shows it as it is: nothing in it is a link or a picture."""
    return "".join(f"\\{char}" if char in _MARKS else char for char in said)
