"""Many people and one guest's very long answer, with the model that ships."""

from __future__ import annotations

import pytest

from benchmarks.many_people import measure, people_with
from vqa.chat.page_options import ModelChoice
from vqa.loading import load_choice

pytestmark = [pytest.mark.slow, pytest.mark.weights]


def test_short_questions_do_not_wait_for_a_long_answer() -> None:
    answerer = load_choice(ModelChoice(dtype="float32"))
    waits = measure(answerer, people_with(answerer, 8, 1), tokens=2048, pause=4.0)
    assert waits.differing == [] and waits.answers == 8
    assert not waits.long_ended
