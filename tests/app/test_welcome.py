"""The first screen: what the model that answers can do and what it cannot, to be tried."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from app.welcome import _TRIALS
from tests.app.fake import Parrot
from tests.app.test_page import PAGE, opened, press, texts
from tests.app.waiting import finish

NAMES = ["names", "presence", "captions", "count", "read", "people"]


def trials(page: AppTest) -> list[str]:
    keys = [str(button.key) for button in page.button]
    return [key.removeprefix("try-") for key in keys if key.startswith("try-")]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_it_can_and_cannot_do_is_told_and_tried(parrot: Parrot, language: str) -> None:
    page = opened(lang=language)
    assert "embedded" in " ".join(caption.value for caption in page.main.caption)
    assert trials(page) == NAMES
    for name, (_, question) in (_TRIALS["good"] | _TRIALS["cannot"]).items():
        finish(page.button(key=f"try-{name}").click().run())
        assert not page.exception
        assert texts(page) == [question, f"With 1 pictures you asked: {question}"]
        assert not trials(page)
        press(page, "新对话" if language == "zh" else "New conversation")


def test_of_another_model_nothing_is_claimed(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "VQA_APP", json.dumps({"choice": {"name": "some/model", "adapter": "runs/1"}})
    )
    page = opened()
    assert trials(page) == []
    assert "some/model + runs/1 answers here." in [
        one.value.replace("\\", "") for one in page.main.caption
    ]


def test_a_trial_waits_until_the_model_is_there(parrot: Parrot) -> None:
    page = AppTest.from_file(PAGE, default_timeout=30)
    page.run()
    finish(page.button(key="try-count").click().run())
    assert texts(finish(page.run()))[0] == _TRIALS["cannot"]["count"][1]
