"""The web page that a conversation is downloaded as: whole, safe, bounded, in both languages."""

from __future__ import annotations

import base64
import io
import re
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from app import error_text, export_html
from app.export_html import as_html
from tests.app.fake import Parrot
from tests.app.test_page import ask, opened, png
from vqa.chat.export import as_json
from vqa.chat.history import History
from vqa.inputs.images import load_image

HOSTILE = '</p><script>alert(1)</script><img src="https://evil.example/x.png" onerror="alert(2)">'
ABOUT = {
    "finish": "stop", "probability": 0.25, "image_tokens": 9, "prompt_tokens": 20,
    "new_tokens": 21, "seconds": {"first_token": 0.5, "total": 1.5}, "hints": [],
}  # fmt: skip


class Tags(HTMLParser):
    """The tags of a page with their attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def page_of(history: History, key: str, language: str = "en") -> str:
    branch, turns = history.branch("anna", key), history.turns("anna", key)
    system = history.system("anna", key)
    return as_html(branch, turns, system, lambda one: load_image(one.path), language)


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<body>")[2]).split())


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def conversation(history: History, system: str = "") -> str:
    key = history.start("anna", system)
    question = history.add_question("anna", key, None, "What is it?", [("red.png", png())])
    for text in ("A cat.", "A dog."):
        answer = history.add_answer("anna", question, "parrot")
        history.finish(answer, text, "done", ABOUT)
    history.rate("anna", answer, -1)
    history.correct("anna", answer, "A tabby.")
    edited = history.edit_question("anna", question, "Which animal?")
    history.finish(history.add_answer("anna", edited, "other"), "Cat.", "stopped", ABOUT)
    history.choose("anna", answer)
    return key


def test_the_page_has_all_that_was_asked_answered_and_judged(history: History) -> None:
    text = words(page_of(history, conversation(history, "Be brief.")))
    shown, _, beside = text.partition("Other versions, with what followed them: 2")
    for part in ("Be brief.", "Question 1/2", "What is it?"):
        assert part in shown
    for part in ("Which animal?", "other", "Cat.", "Stopped.", "parrot 1/2", "A cat."):
        assert part in beside
    for part in ("parrot 2/2", "A dog.", "Corrected: A tabby.", "thumb down", "25% sure",
                 "1.5 s", "20 tokens a second"):  # fmt: skip
        assert part in text
    assert len(re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", text)) == 5


def test_the_page_speaks_the_language_of_the_reader(history: History) -> None:
    page = page_of(history, conversation(history), "zh")
    assert '<html lang="zh">' in page
    assert "已纠正：A tabby." in page and "问题" in page and "thumb" not in page


def test_pictures_are_inside_and_small_and_tell_no_place(history: History) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    file = io.BytesIO()
    Image.effect_noise((3000, 1500), 50).convert("RGB").save(file, "JPEG", exif=exif)
    key = history.start("anna")
    history.add_question("anna", key, None, "Where?", [("holiday.jpg", file.getvalue())])
    page = page_of(history, key)
    ((_, picture),) = [(tag, values) for tag, values in Tags(page).tags if tag == "img"]
    assert picture["alt"] == "holiday.jpg"
    content = base64.b64decode(str(picture["src"]).partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (1024, 512)
    assert b"secret" not in content


@pytest.mark.parametrize("place", ["question", "answer", "name", "correction", "system", "model"])
def test_nothing_of_a_stranger_is_a_tag_or_loads_anything(history: History, place: str) -> None:
    texts = dict.fromkeys(("question", "answer", "name", "correction", "system", "model"), "x")
    texts[place] = HOSTILE
    key = history.start("anna", texts["system"])
    name = (texts["name"], png())
    question = history.add_question("anna", key, None, texts["question"], [name])
    answer = history.add_answer("anna", question, texts["model"])
    history.finish(answer, texts["answer"], "failed", {}, texts["answer"])
    history.correct("anna", answer, texts["correction"])
    page = page_of(history, key)
    tags = Tags(page).tags
    assert not [tag for tag, _ in tags if tag in ("script", "a", "iframe", "link", "form")]
    addresses = [values[name] for _, values in tags for name in ("src", "href") if name in values]
    assert addresses and all(str(one).startswith("data:image/jpeg;base64,") for one in addresses)
    assert not [name for _, values in tags for name in values if name.startswith("on")]
    assert "default-src 'none'" in page


def test_many_pictures_are_bounded_and_the_rest_named(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = history.start("anna")
    pictures = [(f"{colour}.png", png(colour)) for colour in ("red", "blue")]
    history.add_question("anna", key, None, "What?", pictures)
    monkeypatch.setattr(export_html, "_MOST_BYTES", 1)
    page = page_of(history, key)
    assert len([tag for tag, _ in Tags(page).tags if tag == "img"]) == 1
    assert "The picture blue.png is not in this file." in page


def test_a_picture_that_is_gone_is_named(history: History) -> None:
    key = conversation(history)
    for path in (history.directory / "pictures").iterdir():
        path.unlink()
    assert "The picture red.png is not in this file." in page_of(history, key)


def test_the_page_offers_all_three_files(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    labels = [one.label for one in page.get("download_button")]
    assert labels == [
        "As a web page, with pictures and all versions",
        "As JSON, with pictures and all versions",
        "As Markdown",
    ]


def test_a_file_says_of_what_failed_what_the_page_says(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guests read no path of the server; a preference is in the page, too."""
    monkeypatch.setattr(error_text, "is_local", lambda: False)
    monkeypatch.setattr(error_text, "directory", lambda: tmp_path / "secret-place")
    key = history.start("anna", "", "What?")
    question = history.add_question("anna", key, None, "What?", [("red.png", png())])
    failed = history.add_answer("anna", question, "tiny")
    path = tmp_path / "secret-place" / "history.sqlite"
    history.finish(failed, "", "failed", {}, f"Cannot write {path}: the disk is full.")
    better = history.add_answer("anna", question, "tiny")
    history.finish(better, "a dog", "done", {})
    history.prefer("anna", better, failed)
    page = page_of(history, key)
    assert "Cannot write history.sqlite: the disk is full." in words(page)
    assert "secret-place" not in page
    assert "You chose this answer as the better one." in words(page)
    branch, turns = history.branch("anna", key), history.turns("anna", key)
    data = as_json(branch, turns, "", partial(error_text.message_in, "en"))
    assert "secret-place" not in data and "Cannot write history.sqlite" in data
