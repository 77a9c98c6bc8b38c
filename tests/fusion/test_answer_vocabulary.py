"""The closed set of answers, and the temperature of its probabilities."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqa.errors import InputError
from vqa.fusion.answer_vocabulary import AnswerVocabulary
from vqa.fusion.model import fit_temperature


def test_frequent_answers_are_classes_in_their_commonest_spelling():
    rows = [["Red"], ["red"], ["red."], ["blue", "navy"], ["navy "], ["green"]]
    answers = AnswerVocabulary.from_rows(rows, least=2, most=None)
    assert answers.texts == ("Red", "navy")  # of equally common spellings the first of the alphabet
    assert answers.index("RED.") == 0 and answers.index("green") is None
    assert AnswerVocabulary.from_rows(rows, least=1, most=2).texts == ("Red", "navy")


def test_raters_share_a_vote_by_how_many_gave_the_answer():
    answers = AnswerVocabulary(["red", "blue"])
    assert answers.soft_targets(["red", "Red", "blue", "mauve"]) == {0: 2 / 3, 1: 1 / 3}
    assert answers.soft_targets(["mauve"]) == {}


def test_a_single_answer_is_nothing_to_choose_from():
    with pytest.raises(InputError, match=r"answers.least=2: 1 of 2 different answers"):
        AnswerVocabulary.from_rows([["a"], ["a"], ["b"]], least=2, most=None)


@given(st.lists(st.lists(st.text(max_size=6), max_size=3), max_size=20))
def test_every_class_is_found_again(rows):
    try:
        answers = AnswerVocabulary.from_rows(rows, least=1, most=None)
    except InputError:
        return
    assert [answers.index(text) for text in answers.texts] == list(range(len(answers)))
    for accepted in rows:
        shares = answers.soft_targets(accepted)
        assert not shares or abs(sum(shares.values()) - 1) < 1e-9


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(true):
    """Answers drawn from the probabilities at one temperature, logits given at another."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(4_000, 5)
    drawn = torch.multinomial((logits / true).softmax(-1), 1)[:, 0]
    right = (drawn == logits.argmax(-1)).float()
    assert abs(fit_temperature(logits, right) / true - 1) < 0.2


def test_wrong_answers_outside_the_classes_lower_the_probability():
    logits = torch.tensor([[4.0, 0.0]]).repeat(100, 1)
    right = torch.tensor([1.0] * 60 + [0.0] * 40)
    top = (logits / fit_temperature(logits, right)).softmax(-1).max(-1).values
    assert abs(float(top[0]) - 0.6) < 0.02


def test_few_rows_that_are_all_right_prove_no_certainty():
    logits = torch.tensor([[4.0, 0.0]]).repeat(8, 1)
    top = (logits / fit_temperature(logits, torch.ones(8))).softmax(-1).max(-1).values
    assert 0.85 < float(top[0]) < 0.95
