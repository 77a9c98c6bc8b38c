"""An endpoint for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.remote.endpoint import Server, serving


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server
