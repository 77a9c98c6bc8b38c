"""What a newcomer does first, with the model that ships, on real photos."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.app.waiting import finish
from vqa.chat import Conversation
from vqa.engine import LocalEngine
from vqa.models.checkpoints import load

pytestmark = pytest.mark.weights

PAGE = Path(__file__).parents[1] / "app" / "streamlit_page.py"
ANIMAL = "What animal is this?"

# runs the command line where no connection to anything is possible
CUT_OFF = """
import socket, sys
def refuse(*_):
    raise OSError("the network is cut off")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from vqa.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(load("embedded"))


def answer(engine: LocalEngine, photo: Path, question: str) -> str:
    return engine.answer([Conversation().ask(question, [photo]).request()])[0].text


def test_the_cat_is_a_cat(engine: LocalEngine, examples: Path) -> None:
    assert "cat" in answer(engine, examples / "cat.jpg", ANIMAL).lower()


def test_the_coffee_is_a_cup_or_coffee(engine: LocalEngine, examples: Path) -> None:
    wordings = (
        "What is in the picture?",
        "What is this?",
        "What is on the table?",
        "What can you see?",
    )
    answers = [answer(engine, examples / "coffee.jpg", question).lower() for question in wordings]
    right = [
        one for one in answers if any(word in one for word in ("cup", "coffee", "mug", "espresso"))
    ]
    assert len(right) >= 3, answers


def test_it_looks_before_it_answers(engine: LocalEngine, examples: Path) -> None:
    cat, coffee = (answer(engine, examples / name, "Is there a cat in the picture?").lower()
                   for name in ("cat.jpg", "coffee.jpg"))  # fmt: skip
    assert (cat.startswith("yes"), coffee.startswith("no")) == (True, True)


def test_it_answers_without_a_network(engine: LocalEngine, examples: Path) -> None:
    command = [sys.executable, "-c", CUT_OFF, "ask", str(examples / "cat.jpg"), ANIMAL, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"] == answer(engine, examples / "cat.jpg", ANIMAL)


def test_the_page_answers_the_same(
    engine: LocalEngine, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    st.cache_resource.clear()
    page = AppTest.from_file(PAGE, default_timeout=120).run()
    page.chat_input[0].upload("cat.jpg", (examples / "cat.jpg").read_bytes(), "image/jpeg")
    page.chat_input[0].set_value(ANIMAL)
    finish(page.run())
    st.cache_resource.clear()
    assert not page.exception
    expected = answer(engine, examples / "cat.jpg", ANIMAL)
    question, written = page.chat_message  # a question is plain text, an answer Markdown
    assert (question.text[0].value, written.markdown[0].value) == (ANIMAL, expected)
