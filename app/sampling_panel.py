"""How answers are written: what a person sets for the session."""

from __future__ import annotations

import streamlit as st

from app.texts import text
from vqa.answering import SamplingParams

_TOKENS, _MOST_TOKENS = 256, 2048


def settings_panel() -> None:
    """Draw the widgets. What is not as usual stands in the address, and so survives a reload."""
    usual = SamplingParams(_TOKENS)
    tokens = st.slider(
        text("settings.max_new_tokens"), 16, _MOST_TOKENS, usual.max_new_tokens, 16,
        key="max_new_tokens", bind="query-params",
    )  # fmt: skip
    temperature = st.slider(
        text("settings.temperature"), 0.0, 2.0, usual.temperature, 0.1, key="temperature",
        bind="query-params", help=text("settings.temperature_help"),
    )  # fmt: skip
    greedy = temperature == 0
    top_p = st.slider(
        text("settings.top_p"), 0.05, 1.0, usual.top_p, 0.05, disabled=greedy, key="top_p",
        bind="query-params",
    )  # fmt: skip
    seed = st.number_input(
        text("settings.seed"), 0, 2**31 - 1, usual.seed, disabled=greedy, key="seed",
        bind="query-params",
    )  # fmt: skip
    st.session_state.sampling_params = SamplingParams(tokens, temperature, top_p, seed)
    st.session_state.system_prompt = st.text_area(
        text("settings.system"), max_chars=2000, key="system", bind="query-params",
        help=text("settings.system_help"),
    )  # fmt: skip


def sampling_params() -> SamplingParams:
    """Return what is set for the next answer."""
    params: SamplingParams = st.session_state.get("sampling_params", SamplingParams(_TOKENS))
    return params


def system_prompt() -> str:
    """Return the system prompt of the next conversation."""
    return str(st.session_state.get("system_prompt", ""))
