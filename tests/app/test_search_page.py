"""The search page over a folder, with a tiny random model of pictures and texts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import streamlit as st
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


def test_files_that_changed_are_no_results(parrot: Parrot, photos: Path) -> None:
    press(searching(photos), "Look at 4 pictures")
    Image.new("RGB", (40, 31), "blue").save(photos / "red.png")
    (photos / "green.png").unlink()
    page = searching(photos)
    page.file_uploader(key="search-like").set_value(("like.png", png("red"), "image/png")).run()
    assert names(page) == ["blue\\.png"]
    assert any("until you look again: 2" in caption.value for caption in page.main.caption)


def test_what_is_wrong_is_told(parrot: Parrot, tmp_path: Path, photos: Path) -> None:
    assert "no such folder" in searching(tmp_path / "nowhere").error[0].value
    (tmp_path / "empty").mkdir()
    assert "no pictures in it" in searching(tmp_path / "empty").error[0].value
    page = press(searching(photos), "Look at 4 pictures")
    page.text_input(key="search-words").set_value("square " * 100).run()
    assert "tokens" in page.error[0].value


def test_what_is_absurdly_long_is_refused_in_a_line(
    parrot: Parrot, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = press(searching(photos), "Look at 4 pictures")
    loaded: list[str] = []
    monkeypatch.setattr(vqa.alignment.loading, "load", lambda: loaded.append("model"))
    st.cache_resource.clear()
    page.text_input(key="search-words").set_value("square " * 15_000).run()
    assert not page.exception and not loaded
    error = page.error[0].value.replace("\\", "")
    assert "at most 8,000 are read" in error and len(error) < 300
    page.text_input(key="search-folder").set_value("/photos" * 15_000).run()
    assert not page.exception
    assert len(page.error) == 1 and len(page.error[0].value) < 300


def test_what_is_no_picture_is_counted_and_hidden_files_are_not(
    parrot: Parrot, photos: Path
) -> None:
    for name in ("notes.txt", "manual.pdf", "._red.png", ".DS_Store", "Thumbs.db"):
        (photos / name).write_text("words")
    Image.new("RGB", (40, 30), "pink").save(photos / "pink.avif")
    (photos / "green.png").rename(photos / "green")
    page = searching(photos)
    assert any(one.label == "Look at 5 pictures" for one in page.button)
    captions = [caption.value for caption in page.main.caption if "left out" in caption.value]
    assert len(captions) == 1 and "2 files that are no pictures" in captions[0].replace("\\", "")
