"""Twenty people at once on one page: every answer belongs to its question and its picture."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.page_load import Person, crowd, summary
from tests.app.server import serving

pytestmark = pytest.mark.browser
PEOPLE = 20


def person(number: int) -> Person:
    """Somebody with a picture of a colour of their own, which the parrot names."""
    colour = (number * 12, 255 - number * 12, number)
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "PNG")
    slow = " slow" if number % 8 == 0 else ""  # some answers take long: then all others wait
    questions = [f"{number}: wait,{slow} which colour?", f"{number}: again, which colour?"]
    answers = [f"With 1 pictures you asked: {one}" for one in questions]
    answers[0] += " word" * 300 if slow else ""
    answers = [f"{one} #{bytes(colour).hex()}" for one in answers]
    return Person(file.getvalue(), questions, answers)


def test_twenty_people_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, host="0.0.0.0") as (url, log):
        measured = summary(asyncio.run(crowd(url, [person(number) for number in range(PEOPLE)])))
        assert "Traceback" not in log.read_text()
    assert measured["wrong"] == []
    assert measured["answers"] == 2 * PEOPLE
    assert measured["who_saw_a_place"] >= PEOPLE // 4
    assert measured["last_place"] > 1
