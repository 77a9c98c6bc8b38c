"""How answers are written: what a person sets for the session."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from app.texts import text
from vqa.answering import Settings

_TOKENS, _MOST_TOKENS = 256, 2048


@dataclass
class _Chosen:
    """Kept apart from the widgets, whose state ends when another page is shown."""

    max_new_tokens: int = _TOKENS
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    system: str = ""


def _chosen() -> _Chosen:
    found: _Chosen = st.session_state.setdefault("settings", _Chosen())
    return found


def settings_panel() -> None:
    """The widgets."""
    now = _chosen()
    now.max_new_tokens = st.slider(
        text("settings.max_new_tokens"), 16, _MOST_TOKENS, now.max_new_tokens, 16
    )
    now.temperature = st.slider(
        text("settings.temperature"), 0.0, 2.0, now.temperature, 0.1,
        help=text("settings.temperature_help"),
    )  # fmt: skip
    sampled = now.temperature > 0
    now.top_p = st.slider(text("settings.top_p"), 0.05, 1.0, now.top_p, 0.05, disabled=not sampled)
    now.seed = st.number_input(text("settings.seed"), 0, 2**31 - 1, now.seed, disabled=not sampled)
    now.system = st.text_area(
        text("settings.system"), now.system, max_chars=2000, help=text("settings.system_help")
    )


def generation_settings() -> Settings:
    """For the next answer."""
    now = _chosen()
    return Settings(now.max_new_tokens, now.temperature, now.top_p, now.seed)


def system_prompt() -> str:
    """For the next conversation that begins."""
    return _chosen().system
