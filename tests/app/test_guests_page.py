"""The chat page for visitors from other computers, who share the model and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import streamlit as st

import vqa.loading
from tests.app.fake import Parrot
from tests.app.test_page import ask, opened, png, texts
from tests.app.waiting import waiting
from vqa.chat import Worker
from vqa.chat.page_options import ModelChoice
from vqa.errors import VQAError


def test_visitors_from_elsewhere_choose_no_model(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_APP", json.dumps({"local": False}))
    page = opened()
    assert not [one for one in page.button if one.label == "Load"]
    assert "chosen by whoever started" in " ".join(one.value for one in page.sidebar.caption)


def test_visitors_from_elsewhere_exchange_no_model_that_failed(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(choice: ModelChoice) -> Parrot:
        raise VQAError("no such model in reach")

    monkeypatch.setattr(vqa.loading, "load_choice", build)
    options = {"choice": {"name": "nobody/nothing"}}
    labels = {"Try again", "Back to the model that ships"}
    for local, shown in ((True, labels), (False, set())):
        monkeypatch.setenv("VQA_APP", json.dumps({**options, "local": local}))
        page = opened()
        assert "no such model in reach" in page.error[0].value
        assert {button.label for button in page.button} & labels == shown


def test_visitors_from_elsewhere_hear_of_no_menu_that_they_lack(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = []
    for local in (True, False):
        monkeypatch.setenv("VQA_APP", json.dumps({"local": local}))
        page = ask(opened(), "这是什么？", ("a.png", png()))
        notes.append(page.info[0].value)
    assert "under Model" in notes[0] and "Model" not in notes[1].replace("The model", "")
    assert notes[1].endswith("Ask in English.")


def test_visitors_from_elsewhere_may_have_few_questions_waiting(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "waiting", lambda worker, owner: 4)
    assert texts(ask(opened(), "What?", ("a.png", png())))
    monkeypatch.setenv("VQA_APP", json.dumps({"local": False}))
    st.cache_resource.clear()
    page = ask(opened(), "What?", ("a.png", png()))
    assert "4 of your questions wait" in page.error[0].value
    assert waiting(page) == ["a.png"]
    assert not page.chat_message


def test_visitors_from_elsewhere_share_one_model_and_nothing_else(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_APP", json.dumps({"local": False}))
    first = ask(opened(), "Mine?", ("a.png", png()))
    second = opened(c=first.query_params["c"])
    assert not second.chat_message
    assert "Mine\\?" not in [one.label for one in second.button]
    ask(second, "Yours?", ("b.png", png("blue")))
    assert texts(first)[0] == "Mine?"
    assert len(parrot.requests) == 2


def test_visitors_from_elsewhere_are_not_told_where_the_history_lies(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "history.sqlite").write_text("no database" * 999)
    for local in (True, False):
        monkeypatch.setenv("VQA_APP", json.dumps({"local": local, "history": str(tmp_path)}))
        (error,) = opened().error
        message = error.value.replace("\\", "")
        assert "history.sqlite is not a readable history" in message
        assert (str(tmp_path) in message) == local
