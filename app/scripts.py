"""What runs in the browser: the scripts and styles beside this file."""

from __future__ import annotations

import json
from pathlib import Path

import streamlit as st

from app.texts import language, text

_HERE = Path(__file__).parent
_KEY = "page-scripts"
_STYLE = f'[data-testid="stLayoutWrapper"]:has(> .st-key-{_KEY}) {{ position: absolute; }}'


def load() -> None:
    """Give the page its style, and run its scripts, which look after themselves once they run."""
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    st.html(f"<style>{style}\n{_STYLE}</style>")
    with st.container(key=_KEY):  # takes no place in the page
        scripts = [path.read_text(encoding="utf-8") for path in sorted(_HERE.glob("*.js"))]
        texts = {name: text(f"server.{name}") for name in ("stopped", "restart")}
        page = f'document.documentElement.lang = "{language()}"; window.vqaTexts = '
        for script in [page + json.dumps(texts), *scripts]:
            st.html(f"<script>{script}</script>", unsafe_allow_javascript=True)
