"""Exports say what was asked, answered, judged and corrected, on every branch."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.inputs.pictures import encoded, picture
from vqa.chat import export
from vqa.chat.export import as_json
from vqa.chat.history import History

PHOTO, OTHER = encoded(picture(), "JPEG"), encoded(picture(3, 5), "PNG")
ABOUT = {
    "finish": "stop", "probability": 0.25, "new_tokens": 3, "seconds": {"total": 1.5},
    "hints": ["[names: cat]"],
}  # fmt: skip


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def exported(history: History, key: str) -> dict[str, Any]:
    branch, turns = history.branch("anna", key), history.turns("anna", key)
    return dict(json.loads(as_json(branch, turns, history.system("anna", key))))


def conversation(history: History) -> tuple[str, str]:
    """Ask, answer twice, edit the question and ask on about another picture; the second answer."""
    key = history.start("anna", "Be brief.")
    question = history.add_question("anna", key, None, "What is it?", [("cat.jpg", PHOTO)])
    for text in ("A cat.", "A dog."):
        answer = history.add_answer("anna", question, "parrot")
        history.finish(answer, text, "done", ABOUT)
    history.correct("anna", answer, "A tabby.")
    history.rate("anna", answer, -1)
    follow = history.add_question("anna", key, answer, "And this?", [("x.png", OTHER)])
    history.finish(history.add_answer("anna", follow, "other"), "", "failed", {}, "asleep")
    edited = history.edit_question("anna", question, "Which animal?")
    history.finish(history.add_answer("anna", edited, "parrot"), "Cat.", "stopped", ABOUT)
    return key, answer


def test_json_has_every_branch_with_models_figures_ratings_and_corrections(
    history: History,
) -> None:
    key, corrected = conversation(history)
    result = exported(history, key)
    turns = {turn["id"]: turn for turn in result["turns"]}
    assert [turn["text"] for turn in result["turns"]] == [
        "What is it?", "A cat.", "A dog.", "And this?", "", "Which animal?", "Cat.",
    ]  # fmt: skip
    assert [turn["shown"] for turn in result["turns"]] == [False] * 5 + [True] * 2
    answer = turns[corrected]
    assert answer["text"] == "A dog." and answer["correction"] == "A tabby."
    assert (answer["model"], answer["rating"], answer["probability"]) == ("parrot", -1, 0.25)
    assert (answer["seconds"], answer["state"], answer["hints"]) == (
        {"total": 1.5}, "done", ["[names: cat]"],
    )  # fmt: skip
    assert answer["judged"] > answer["created"] and answer["created"].endswith("Z")
    assert turns[answer["parent"]]["text"] == "What is it?"
    assert [turn["notice"] for turn in result["turns"] if turn.get("state") == "failed"] == [
        "asleep"
    ]
    assert result["system"] == "Be brief."


def test_messages_are_what_was_asked_and_answered_not_what_was_corrected(
    history: History,
) -> None:
    key, corrected = conversation(history)
    history.choose("anna", corrected)
    system, question, answer, follow = exported(history, key)["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert question["content"][-1] == {"type": "text", "text": "What is it?"}
    assert answer == {"role": "assistant", "content": "A dog."}
    assert follow["content"][-1]["text"] == "And this?"  # which got no answer


def test_every_picture_is_in_the_file_once(history: History) -> None:
    key, _ = conversation(history)
    result = exported(history, key)
    digests = [hashlib.sha256(content).hexdigest() for content in (PHOTO, OTHER)]
    names = [one for turn in result["turns"] for one in turn.get("pictures", ())]
    assert names == [
        {"name": "cat.jpg", "sha256": digests[0]},
        {"name": "x.png", "sha256": digests[1]},
        {"name": "cat.jpg", "sha256": digests[0]},
    ]
    (other,) = result["pictures"].items()
    assert other[0] == digests[1]
    assert base64.b64decode(other[1].partition(",")[2]) == OTHER
    shown = result["messages"][1]["content"][0]["image_url"]["url"]
    assert base64.b64decode(shown.partition(",")[2]) == PHOTO


def test_what_there_is_no_room_for_is_named(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = conversation(history)
    monkeypatch.setattr(export, "MOST_BYTES", len(PHOTO))
    result = exported(history, key)
    assert "image_url" in result["messages"][1]["content"][0]
    assert result["pictures"] == {}
    monkeypatch.setattr(export, "MOST_BYTES", len(PHOTO) - 1)
    part = exported(history, key)["messages"][1]["content"][0]
    assert part == {"type": "text", "text": "[cat.jpg: not in this file]"}


def test_a_picture_whose_file_is_gone_is_named(history: History) -> None:
    key, _ = conversation(history)
    for path in (history.directory / "pictures").iterdir():
        path.unlink()
    result = exported(history, key)
    assert result["pictures"] == {}
    assert result["turns"][0]["pictures"] == [{"name": "cat.jpg", "sha256": None}]


def test_a_figure_that_is_no_number_is_null(history: History) -> None:
    key = history.start("anna")
    question = history.add_question("anna", key, None, "What?")
    answer = history.add_answer("anna", question, "parrot")
    history.finish(answer, "A cat.", "done", {"probability": float("nan"), "text": "no"})
    turn = exported(history, key)["turns"][1]
    assert turn["probability"] is None and turn["text"] == "A cat."
