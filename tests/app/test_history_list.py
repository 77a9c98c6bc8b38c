"""The side bar: pictures and days of conversations, what their menu does, what is answered."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from app import thumbnails
from app.history_list import day_group
from app.state import chats
from tests.app.fake import Parrot
from tests.app.test_page import ask, opened, png, press, texts
from tests.inputs.clips import scenes, write
from vqa.chat.picture_store import DecodedPictures
from vqa.chat.turn import StoredPicture, Summary


def titles(page: AppTest) -> list[str]:
    """The conversations in the order of the list, without the marks that make them plain."""
    rows = [one for one in page.sidebar.button if str(one.key).startswith("open-")]
    return [one.label.replace("\\", "") for one in rows]


def captions(page: AppTest) -> list[str]:
    return [one.value for one in page.sidebar.caption]


def html(page: AppTest) -> str:
    return " ".join(one.proto.body for one in page.sidebar.get("html"))


def stored(count: int, owner: str = "local") -> list[Summary]:
    """Conversations that the history has, each with a picture of its own: the latest first."""
    history = chats().history
    for number in range(count):
        key = history.start(owner)
        picture = (f"photo {number}.png", png(f"#0000{number:02x}"))
        history.add_question(owner, key, None, f"Question {number}?", [picture])
    return history.conversations(owner)


def test_days_end_at_midnight_of_the_persons_zone() -> None:
    zone = ZoneInfo("Asia/Shanghai")
    now = datetime(2026, 3, 1, 0, 30, tzinfo=zone)
    for before, name in (
        (timedelta(minutes=30), "today"),
        (timedelta(minutes=31), "yesterday"),
        (timedelta(hours=24, minutes=30), "yesterday"),
        (timedelta(days=2), "week"),
        (timedelta(days=7), "week"),
        (timedelta(days=8), "month"),
        (timedelta(days=30), "month"),
        (timedelta(days=31), "older"),
        (-timedelta(days=1), "today"),  # by a clock that was set back since
    ):
        assert day_group(now - before, now) == name


@pytest.mark.parametrize(
    ("language", "names"),
    [
        ("en", ["Pinned", "Today", "Yesterday", "Previous 7 days", "Previous 30 days", "Older"]),
        ("zh", ["已置顶", "今天", "昨天", "过去 7 天", "过去 30 天", "更早"]),
    ],
)
def test_the_list_is_in_groups_of_days(parrot: Parrot, language: str, names: list[str]) -> None:
    listed = stored(6)
    file = chats().history.directory / "history.sqlite"
    with sqlite3.connect(file) as database:
        for one, days in zip(listed, (60, 0, 1, 4, 20, 40), strict=True):
            changed = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
            values = (changed.isoformat(" "), one.id)
            database.execute("update conversations set changed = ? where id = ?", values)
    chats().history.pin("local", listed[0].id, True)
    page = opened(lang=language)
    assert [one for one in captions(page) if one in names] == names
    assert titles(page) == [one.title for one in listed]


def test_the_days_are_those_of_the_browsers_zone(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(1)
    now = datetime.now(UTC)
    changed = (now - timedelta(minutes=61)).replace(tzinfo=None)
    with sqlite3.connect(chats().history.directory / "history.sqlite") as database:
        database.execute("update conversations set changed = ?", (changed.isoformat(" "),))
    # where it is past midnight now, whatever day it is in London
    zone = f"Etc/GMT+{now.hour}" if now.hour <= 12 else f"Etc/GMT-{24 - now.hour}"
    monkeypatch.setattr(type(st.context), "timezone", property(lambda context: zone))
    assert captions(opened())[0] == "Yesterday"


def test_a_conversation_is_renamed_in_a_window(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    menu = f"menu-{page.query_params['c']}"
    page.menu_button(key=menu).click("rename").run()
    (field,) = [one for one in page.text_input if one.label == "Title"]
    assert field.value == "What?"
    field.set_value("   ")
    press(page, "Keep")
    assert "title is empty" in page.error[0].value
    (field,) = [one for one in page.text_input if one.label == "Title"]
    field.set_value("My **cat** \u202e\x1b")
    press(page, "Keep")
    assert not page.error
    assert titles(page) == ["My **cat** \ufffd\ufffd"]  # nothing turns the order of letters around
    assert not [one for one in page.text_input if one.label == "Title"]


def test_a_conversation_is_pinned_and_back(parrot: Parrot) -> None:
    first, second = reversed(stored(2))
    page = opened()
    assert titles(page) == ["Question 1?", "Question 0?"]
    page.menu_button(key=f"menu-{first.id}").click("pin").run()
    assert titles(page) == ["Question 0?", "Question 1?"]
    assert captions(page)[:2] == ["Pinned", "Today"]
    page.menu_button(key=f"menu-{first.id}").click("unpin").run()
    assert titles(page) == ["Question 1?", "Question 0?"]
    chats().delete("local", second.id)  # by another tab
    page.menu_button(key=f"menu-{second.id}").click("pin").run()
    assert "no such conversation" in page.error[0].value


def test_a_conversation_that_is_not_shown_is_deleted_once_that_is_agreed(parrot: Parrot) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    (other, *_) = stored(1)
    page.run()
    page.menu_button(key=f"menu-{other.id}").click("delete").run()
    assert titles(page) == ["Question 0?", "What?"]
    page.button(key="delete-yes").click().run()
    assert titles(page) == ["What?"]
    assert texts(page)[0] == "What?"


def test_many_conversations_are_drawn_in_parts_with_their_pictures_made_once(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    real = DecodedPictures.load_stored

    def load(pictures: DecodedPictures, picture: StoredPicture) -> Image.Image:
        decoded.append(picture.name)
        return real(pictures, picture)

    monkeypatch.setattr(DecodedPictures, "load_stored", load)
    monkeypatch.setattr("app.history_list._ICON_SECONDS", 100.0)
    listed = stored(25)
    listed[3].picture.path.write_bytes(b"no picture")  # type: ignore[union-attr]
    page = opened()
    assert titles(page) == [one.title for one in listed[:20]]
    assert decoded == [one.picture.name for one in listed[:20] if one.picture]
    assert len(page.sidebar.image) == 19
    page.button(key="show-more").click().run()
    assert titles(page) == [one.title for one in listed]
    assert "show-more" not in [one.key for one in page.button]
    assert len(decoded) == 25
    assert len(page.sidebar.image) == 24


def test_pictures_take_no_longer_than_people_wait(parrot: Parrot) -> None:
    pictures = [one.picture for one in stored(3) if one.picture]
    assert not thumbnails.make_icons(pictures, -1)
    assert [thumbnails.icon(one) for one in pictures] == [None] * 3
    assert thumbnails.make_icons(pictures, 100)
    assert all(thumbnails.icon(one) for one in pictures)


def test_what_is_answered_elsewhere_has_a_dot_and_is_ended_there(parrot: Parrot) -> None:
    page = opened()
    page.chat_input[0].upload("a.png", png(), "image/png")
    page.chat_input[0].set_value("endless?").run()
    key = page.query_params["c"]
    ends = f"end-{key}"
    assert 'class="running" role="img" aria-label="An answer is being written"' in html(page)
    assert ends not in [one.key for one in page.button]  # this page has a button for it
    page.button(key="new").click().run()
    assert 'class="running"' in html(page)
    page.button(key=ends).click().run()
    assert not page.exception
    assert 'class="running"' not in html(page)
    assert ends not in [one.key for one in page.button]
    while (answer := chats().history.branch("local", key)[-1]).state == "running":
        time.sleep(0.02)
    assert answer.state == "stopped"


def test_a_guest_sees_no_dot_of_another(parrot: Parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQA_APP", json.dumps({"local": False}))
    page, other = opened(), opened()
    page.chat_input[0].upload("a.png", png(), "image/png")
    page.chat_input[0].set_value("endless?").run()
    assert 'class="running"' in html(page)
    assert not html(other.run()) or 'class="running"' not in html(other)
    assert titles(other) == []
    page.button(key="stop").click().run()


def test_a_search_shows_the_place_and_looks_into_names_of_pictures(parrot: Parrot) -> None:
    page = ask(opened(), "What is <b>red</b> & round?", ("ball.png", png()))
    press(page, "New conversation")
    ask(page, "What is blue?", ("sky <i>.png", png("blue")))
    page.text_input(key="search").set_value("B>RED<").run()
    assert titles(page) == ["What is <b>red</b> & round?"]
    place = "What is &lt;<mark>b&gt;red&lt;</mark>/b&gt; &amp; round?"
    assert f'<p class="place">{place}</p>' in html(page)
    page.text_input(key="search").set_value("SKY <").run()
    assert titles(page) == ["What is blue?"]
    assert '<p class="place"><mark>sky &lt;</mark>i&gt;.png</p>' in html(page)
    page.text_input(key="search").set_value("").run()
    assert len(titles(page)) == 2
    assert 'class="place"' not in html(page)


def test_a_conversation_about_a_video_is_called_by_its_question(
    parrot: Parrot, tmp_path: Path
) -> None:
    clip = write(tmp_path / "a.mp4", scenes("red", "blue"), every=10).read_bytes()
    page = opened()
    page.chat_input[0].upload("a.mp4", clip, "video/mp4")
    ask(page, "What happens?")
    assert texts(page)[0].startswith("Frames of a video at ")
    assert titles(page) == ["What happens?"]
