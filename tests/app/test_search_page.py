"""The search page over a folder, with a tiny random model of pictures and texts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import vqa.alignment.loading
from tests.alignment import tiny
from tests.app.fake import Parrot
from tests.app.test_page import press

SEARCH = Path(__file__).parent / "searching.py"  # the page alone


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures, and a model that knows nothing."""
    clip = str(tiny.clip(tmp_path / "clip"))
    load = vqa.alignment.loading.load
    monkeypatch.setattr(vqa.alignment.loading, "load", lambda: load(clip, "cpu"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for colour in ("red", "blue", "green"):
        Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return folder


def searching(folder: Path) -> AppTest:
    page = AppTest.from_file(SEARCH, default_timeout=30).run()
    page.text_input(key="search-folder").set_value(str(folder)).run()
    assert not page.exception
    return page


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


def names(page: AppTest) -> list[str]:
    return [caption.value.split()[-1] for caption in page.main.caption if "png" in caption.value]


def test_a_folder_is_looked_at_and_searched(parrot: Parrot, photos: Path) -> None:
    page = press(searching(photos), "Look at 4 pictures")
    assert "Pictures that could not be opened: 1" in [one.label for one in page.expander]
    page.text_input(key="search-words").set_value("a red square").run()
    assert sorted(names(page)) == ["blue\\.png", "green\\.png", "red\\.png"]
    again = searching(photos)  # a later visit finds the index
    again.file_uploader(key="search-like").set_value(("like.png", png("blue"), "image/png")).run()
    assert names(again)[0] == "blue\\.png"
    assert any(one.label.startswith("Look again: 4") for one in again.button)


def test_what_is_wrong_is_told(parrot: Parrot, tmp_path: Path, photos: Path) -> None:
    assert "no such folder" in searching(tmp_path / "nowhere").error[0].value
    (tmp_path / "empty").mkdir()
    assert "no pictures in it" in searching(tmp_path / "empty").error[0].value
    page = press(searching(photos), "Look at 4 pictures")
    page.text_input(key="search-words").set_value("square " * 100).run()
    assert "tokens" in page.error[0].value
