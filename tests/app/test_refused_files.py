"""A file that is refused stops the question it came with: nothing is asked about earlier ones."""

from __future__ import annotations

import builtins
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import vqa.loading
from tests.app.fake import Parrot
from tests.app.test_hostile_page import ask, errors, huge_png, opened, picture
from tests.app.test_page import press
from tests.app.test_search_page import names, photos, searching  # noqa: F401
from tests.app.waiting import waiting
from tests.inputs import clips

BAD = [
    ("form.png", b"%PDF-1.7\n1 0 obj\n", "form.png is a PDF, not a picture"),
    ("form.pdf", b"%PDF-1.7\n1 0 obj\n", "form.pdf is a PDF, not a picture"),
    ("notes.txt", b"buy milk\n", "notes.txt is text, not a picture"),
    ("table.csv", b"a,b\n1,2\n", "table.csv is text, not a picture"),
    ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing.svg is an SVG"),
    ("empty.png", b"", "empty.png is empty"),
    ("nameless", b"\0\1\2\3", "nameless is"),
    ("half.jpg", picture("JPEG")[:200], "half.jpg"),
    ("huge.png", huge_png(), "huge.png has too many pixels"),
    ("broken.avif", picture("AVIF")[:80], "broken.avif"),
    ("song.mp4", b"\0\0\0\x18ftypisom" + bytes(100), ""),
]


@pytest.fixture(params=[True, False], ids=["local", "guest"])
def parrot(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Parrot]:
    answerer = Parrot()
    options = {"history": str(tmp_path / "history"), "local": request.param}
    monkeypatch.setenv("VQA_APP", json.dumps(options))
    monkeypatch.setattr(vqa.loading, "load_choice", lambda choice: answerer)
    st.cache_resource.clear()
    yield answerer
    st.cache_resource.clear()


def draft(page: AppTest) -> str:
    """What stands in the box again."""
    return str(page.chat_input[0].proto.value)


@pytest.mark.parametrize(("name", "content", "why"), BAD, ids=[name for name, *_ in BAD])
def test_nothing_is_asked_about_the_picture_before(
    parrot: Parrot, name: str, content: bytes, why: str
) -> None:
    page = ask(opened(), "What is it?", ("tea.png", picture()))
    assert len(parrot.requests) == 1
    before = len(page.chat_message)
    ask(page, "And this?", (name, content))
    assert why in errors(page)
    assert "Nothing was asked; the question is in the box again." in errors(page)
    assert draft(page) == "And this?"
    assert len(parrot.requests) == 1 and len(page.chat_message) == before


def test_of_two_the_good_one_waits_and_the_bad_one_is_named(parrot: Parrot) -> None:
    page = ask(opened(), "What is it?", ("tea.png", picture()))
    ask(page, "And these?", ("a.pdf", b"%PDF-1.7"), ("b.png", picture()))
    assert "a.pdf is a PDF" in errors(page) and "b.png" not in errors(page)
    assert waiting(page) == ["b.png"]
    assert len(parrot.requests) == 1
    ask(page, draft(page))
    assert not page.error
    assert [len(message.images) for message in parrot.requests[-1].messages] == [1, 0, 1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("phone.heic", picture("HEIF")),
        ("web.avif", picture("AVIF")),
        ("nameless", picture("WEBP")),
        ("wrong.txt", picture()),
        ("scan.tif", picture("TIFF")),
    ],
)
def test_what_is_a_picture_is_told_by_its_content(
    parrot: Parrot, name: str, content: bytes
) -> None:
    page = ask(opened(), "What is it?", (name, content))
    assert not page.error
    assert len(parrot.requests[-1].messages[-1].images) == 1


def test_a_video_without_the_extra_is_told_and_the_question_stays(
    parrot: Parrot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = clips.write(tmp_path / "clip.mp4", clips.scenes("red", "blue"), every=8).read_bytes()
    page = ask(opened(), "What is it?", ("tea.png", picture()))
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "av" or name.startswith("av."):
            raise ImportError("No module named 'av'")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.delitem(sys.modules, "av", raising=False)
    ask(page, "What happens?", ("clip.mp4", clip))
    assert "vqa[video]" in errors(page)
    assert draft(page) == "What happens?" and len(parrot.requests) == 1


def test_a_video_beside_a_bad_file_is_told_of_both(parrot: Parrot, tmp_path: Path) -> None:
    clip = clips.write(tmp_path / "clip.mp4", clips.scenes("red"), every=8).read_bytes()
    page = ask(opened(), "What?", ("clip.mp4", clip), ("notes.txt", b"buy milk\n"))
    assert "A video is asked about alone" in errors(page)
    assert "notes.txt is text" in errors(page)
    assert draft(page) == "What?" and not parrot.requests


def test_too_many_pictures_beside_those_of_the_conversation(parrot: Parrot) -> None:
    page = ask(opened(), "What is it?", ("tea.png", picture()))
    ask(page, "All?", *((f"{number}.png", picture()) for number in range(9)))
    assert "9 pictures in one message: at most 8" in errors(page)
    assert draft(page) == "All?" and len(parrot.requests) == 1


def test_it_is_told_in_chinese(parrot: Parrot) -> None:
    page = AppTest.from_file(
        Path(__file__).parents[2] / "app" / "streamlit_page.py", default_timeout=20
    )
    page.query_params["lang"] = "zh"
    ask(page.run(), "What is it?", ("form.pdf", b"%PDF-1.7"))
    assert "没有提问；问题已放回输入框。" in errors(page)


def test_the_search_tells_why_an_example_cannot_be_used(
    parrot: Parrot,
    photos: Path,  # noqa: F811
) -> None:
    page = press(searching(photos), "Look at 4 pictures")
    page.text_input(key="search-words").set_value("a red square").run()
    assert names(page)
    for name, content, why in BAD[:6]:
        like = page.file_uploader(key="search-like")
        like.set_value((name, content, "application/octet-stream")).run()
        assert not page.exception
        assert why in errors(page)
        assert not names(page)  # nothing that something else was searched by


def on_batch_page() -> None:
    """The page alone: AppTest cannot go to a page that is a function."""
    from app import batch_page

    batch_page.show()


def packed(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.png", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "pictures", "why"),
    [
        (("q.pdf", b"%PDF-1.7\n1 0 obj\n"), None, "q.pdf"),
        (("q.xlsx", packed(sheet=b"x")), None, "q.xlsx"),
        (("photo.png", picture()), None, "photo.png"),
        (("q.csv", b""), None, "q.csv"),
        (("q.csv", b"image,question\ncat.png,red?\n"), ("all.rar", b"Rar!\x1a\7\0"), "zip"),
        (("q.csv", b"image,question\ncat.png,red?\n"), ("cat.png", picture()), "zip"),
        (("q.csv", b"image,question\ncat.png,red?\n"), ("all.zip", b""), "zip"),
    ],
)
def test_a_batch_does_not_begin_with_files_that_are_refused(
    parrot: Parrot, data: tuple[str, bytes], pictures: tuple[str, bytes] | None, why: str
) -> None:
    page = AppTest.from_function(on_batch_page, default_timeout=20).run()
    page.file_uploader[0].set_value((*data, "application/octet-stream"))
    if pictures is not None:
        page.file_uploader[1].set_value((*pictures, "application/octet-stream"))
    press(page, "Start")
    assert why in errors(page)
    assert "/" not in errors(page)  # no path of the server
    assert not parrot.requests
    assert "Nothing yet." in [one.value for one in page.caption]
