from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

import vqa.cli.page
from tests.app.fake import Parrot


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Parrot]:
    """A server of the page that answers with a parrot and keeps its history for the test."""
    answerer = Parrot()
    monkeypatch.setattr(vqa.cli.page, "build_answerer", lambda choice: answerer)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    st.cache_resource.clear()
    yield answerer
    st.cache_resource.clear()
