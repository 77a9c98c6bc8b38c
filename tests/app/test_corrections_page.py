"""The page of ratings and corrections."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import streamlit as st
import yaml
from streamlit.testing.v1 import AppTest

import vqa.loading
from tests.app.fake import Parrot
from tests.judging import ME, judge, png, several
from vqa.chat.feedback_export import as_zip
from vqa.chat.history import History

ROOT = Path(__file__).parents[2]


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[History]:
    """The history of the page, with four judged answers."""
    monkeypatch.setattr(vqa.loading, "load_choice", lambda choice: Parrot())
    monkeypatch.setenv("VQA_APP", json.dumps({"history": str(tmp_path / "chats")}))
    st.cache_resource.clear()
    history = several(tmp_path / "chats")
    yield history
    history.close()
    st.cache_resource.clear()


SCRIPT = "from app import corrections_page; corrections_page.show()"


def opened() -> AppTest:
    page = AppTest.from_string(SCRIPT, default_timeout=30).run()
    assert not page.exception
    return page


def answers(page: AppTest) -> list[str]:
    return [text.value for text in page.text][1::2]


def choose(page: AppTest, name: str) -> AppTest:
    page.button_group(key="judged-filter").set_value(name).run()
    assert not page.exception
    return page


def test_what_was_judged_is_listed_the_latest_first(history: History) -> None:
    page = opened()
    assert answers(page) == ["a car", "a cup", "a hat", "a dog"]
    assert [area.value for area in page.text_area] == ["", "", "a shoe", "a cat"]
    assert all("embedded" in caption.value for caption in page.caption)
    assert answers(choose(page, "corrected")) == ["a hat", "a dog"]
    assert answers(choose(page, "up")) == ["a cup"]
    assert answers(choose(page, "down")) == ["a car", "a dog"]
    assert answers(choose(page, "open")) == ["a car"]


def test_an_answer_is_corrected_here_and_taken_back(history: History) -> None:
    page = choose(opened(), "open")
    page.text_area[0].set_value(" a bus ")
    page.button[0].click().run()
    assert answers(page) == []
    assert [caption.value for caption in page.caption] == ["None of these."]
    assert answers(choose(page, "all"))[0] == "a car"
    (bus,) = (one for _, one in history.judged_answers(ME) if one.text == "a car")
    assert bus.correction == "a bus" and bus.rating == -1
    page.button(key=f"take-back-{bus.id}").click().run()
    page.button(key="delete-yes").click().run()
    assert "a car" not in answers(page)
    assert history.turn(ME, bus.id).correction == "" and history.turn(ME, bus.id).rating == 0


def test_what_another_tab_has_deleted_is_told(history: History) -> None:
    page = opened()
    (car,) = (one for _, one in history.judged_answers(ME) if one.text == "a car")
    history.delete(ME, car.conversation)
    page.button(key=f"take-back-{car.id}").click().run()
    page.button(key="delete-yes").click().run()
    assert not page.exception
    assert "no such turn" in page.error[0].value
    assert answers(page) == ["a cup", "a hat", "a dog"]


@pytest.mark.parametrize("zone", ["Etc/Unknown", "../etc", "America", None])
def test_browsers_that_name_no_known_zone(
    history: History, monkeypatch: pytest.MonkeyPatch, zone: str | None
) -> None:
    monkeypatch.setattr(type(st.context), "timezone", zone)
    assert answers(opened()) == ["a car", "a cup", "a hat", "a dog"]


def test_times_are_those_of_the_browser(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    times = []
    for zone in ("UTC", "Asia/Kolkata"):
        monkeypatch.setattr(type(st.context), "timezone", zone)
        caption = opened().caption[0].value.replace("\\", "")  # the model and the time
        times.append(datetime.fromisoformat(caption.split(", ")[1]))
    assert times[1] - times[0] == timedelta(hours=5, minutes=30)


def test_a_thumb_is_changed_here(history: History) -> None:
    page = opened()
    cup = next(one for _, one in history.judged_answers(ME) if one.text == "a cup")
    page.feedback(key=f"rating-{cup.id}").set_value(0).run()
    assert history.turn(ME, cup.id).rating == -1
    assert answers(page) == ["a car", "a cup", "a hat", "a dog"]  # it stays where it was
    assert answers(choose(page, "open")) == ["a cup", "a car"]


def test_nobody_sees_what_others_judged(history: History) -> None:
    judge(history, "Secret?", "yes", png("black"), rating=1, owner="another")
    assert "yes" not in answers(opened())


def test_nothing_is_judged(history: History) -> None:
    for _, answer in history.judged_answers():
        history.take_back(ME, answer.id)
    page = opened()
    assert "Nothing yet" in page.info[0].value
    assert not page.text_area


def test_only_thumbs_down_are_nothing_to_learn_from(history: History) -> None:
    for _, answer in history.judged_answers():
        history.correct(ME, answer.id, "")
        history.rate(ME, answer.id, -1)
    page = opened()
    assert not page.code and "does not say what would have been right" in page.markdown[0].value


def test_the_commands_to_go_on(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = opened().code[0].value.splitlines()
    assert commands[0].startswith("vqa data export-feedback feedback --history ")
    assert commands[1].startswith("vqa train finetune data=feedback/train.jsonl")
    assert commands[2] == "vqa compare embedded runs/feedback --data feedback/test.jsonl"
    with zipfile.ZipFile(io.BytesIO(as_zip(history, ME))) as archive:
        assert {"feedback/train.jsonl", "feedback/test.jsonl"} <= set(archive.namelist())


def test_many_are_shown_in_pages(history: History) -> None:
    for number in range(20):
        judge(history, "Which?", f"number {number}", png("red"), rating=1)
    page = opened()
    assert answers(page) == [f"number {number}" for number in range(19, 9, -1)]
    page.number_input[0].set_value(3).run()
    assert answers(page) == ["a car", "a cup", "a hat", "a dog"]
    assert answers(choose(page, "corrected")) == ["a hat", "a dog"]


def test_what_people_write_stays_text(history: History) -> None:
    words = "**x** ![y](http://example.org/z.png) :material/home: $z$ <b>"
    key, _ = judge(history, words, words, png("red"), correction=words, model=words)
    for picture in history.branch(ME, key)[0].pictures:
        picture.path.unlink()
    page = opened()
    assert answers(page)[0] == words and page.text[0].value == words
    elements = [element.value for kind in (page.markdown, page.caption) for element in kind]
    assert not any("![" in text or "**x" in text for text in elements)


def test_the_languages_have_the_same_texts() -> None:
    languages = [
        yaml.safe_load((ROOT / "app" / "texts" / f"{name}.yaml").read_text("utf-8"))["corrections"]
        for name in ("en", "zh")
    ]
    assert languages[0].keys() == languages[1].keys()
    for english, chinese in zip(*(one.values() for one in languages), strict=True):
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", chinese))
