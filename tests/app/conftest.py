from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from playwright.sync_api import Browser, Page

import vqa.loading
from tests.app.browsing import opened
from tests.app.fake import Parrot
from tests.app.server import serving


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Parrot]:
    """A server of the page that answers with a parrot and keeps its history for the test."""
    answerer = Parrot()
    monkeypatch.setattr(vqa.loading, "load_choice", lambda choice: answerer)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    st.cache_resource.clear()
    yield answerer
    st.cache_resource.clear()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page that a process of its own serves, with a parrot for a model."""
    with serving(tmp_path_factory.mktemp("server")) as (url, log):
        yield url
        assert "Traceback" not in log.read_text()


@pytest.fixture
def wide(browser: Browser, url: str) -> Iterator[Page]:
    yield from opened(browser, url)


@pytest.fixture
def phone(browser: Browser, url: str) -> Iterator[Page]:
    yield from opened(browser, url, 380)


@pytest.fixture(params=[1280, 380])
def page(request: pytest.FixtureRequest, browser: Browser, url: str) -> Iterator[Page]:
    """The page on a wide screen and on a phone."""
    yield from opened(browser, url, request.param)
