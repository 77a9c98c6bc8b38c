"""The answerer: what it reads of a conversation, batches, choices, attention."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPImageProcessor

from tests.fusion.conftest import ANSWERS
from training.fusion.data import plan_rows
from training.fusion.settings import FusionSettings
from vqa.answering import (
    Answer,
    Request,
    SamplingParams,
    SupportsAnswerEach,
    SupportsChoices,
    SupportsClearing,
    SupportsEncoderView,
)
from vqa.errors import InputError
from vqa.explain import explain
from vqa.fusion.answerer import FusionAnswerer
from vqa.fusion.storage import load
from vqa.inputs.prompts import Message

RED, BLUE = (Image.new("RGB", (50, 40), color) for color in ("red", "blue"))
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8))
QUESTIONS = ("What?", "Is this a much longer question about it?", "How many cats are there?")


@pytest.fixture(scope="module")
def answerer(directory):
    return FusionAnswerer(load(str(directory), "cpu"))


def asked(text: str, *pictures: Image.Image, **settings: float) -> Request:
    return Request((Message("user", text, pictures),), SamplingParams(**settings))


def test_it_is_an_answerer_of_every_kind(answerer):
    assert isinstance(answerer, SupportsChoices)
    assert isinstance(answerer, SupportsAnswerEach)
    assert isinstance(answerer, SupportsClearing)
    assert isinstance(answerer, SupportsEncoderView)
    assert answerer.encoder_view(RED).size == (96, 96)


def test_answers_are_of_the_set_with_probabilities_that_sum_to_one(answerer):
    (answer,) = answerer.answer([asked("What is it?", RED)])
    assert answer.text in ANSWERS and answer.finish_reason == "stop" and answer.image_tokens == 9
    (scores,) = answerer.score_choices([asked("What is it?", RED)], [ANSWERS])
    assert abs(sum(map(math.exp, scores)) - 1) < 1e-5
    assert ANSWERS[scores.index(max(scores))] == answer.text
    assert abs(math.exp(max(scores)) - answer.probability) < 1e-6


def test_a_batch_answers_like_each_alone(answerer):
    requests = [asked(text, picture) for text in QUESTIONS for picture in (RED, NOISE, BLUE)]
    together = answerer.score_choices(requests, [ANSWERS] * len(requests))
    for request, scores in zip(requests, together, strict=True):
        (alone,) = answerer.score_choices([request], [ANSWERS])
        assert np.allclose(alone, scores, atol=1e-5)


def test_a_picture_in_the_question_is_none_of_its_words(answerer, tmp_path):
    (plain,) = answerer.score_choices([asked("Is it red ?", RED)], [ANSWERS])
    inside = Request((Message("user", "Is it<image>red ?", (RED,), (5,)),))
    assert answerer.score_choices([inside], [ANSWERS])[0] == plain
    (typed,) = answerer.score_choices([asked("Is it<image>red ?", RED)], [ANSWERS])
    assert typed != plain
    data = tmp_path / "data.jsonl"
    rows = [
        {
            "id": text,
            "image": "red.png",
            "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": answer}],
        }
        for text, answer in (("<image>\nIs it red ?", "yes"), ("Is it<image>red ?", "no"))
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    RED.save(tmp_path / "red.png")
    settings = FusionSettings(
        recipe="fusion", output=tmp_path / "run", data=data, validation={"share": 0}
    )
    learned = plan_rows(settings, answerer._embeddings, 1, None, 64).train
    first, second = (learned.ids[slice(*learned.starts[n : n + 2])].tolist() for n in range(2))
    assert first == second  # training reads the same words


def test_the_last_question_about_the_last_picture_counts(answerer):
    def scores(*messages: Message) -> list[float]:
        return answerer.score_choices([Request(messages)], [ANSWERS])[0]

    plain = scores(Message("user", "And now?", (NOISE,)))
    before = (Message("system", "Be brief."), Message("user", "Is it red?", (RED,)),
              Message("assistant", "yes"))  # fmt: skip
    assert scores(*before, Message("user", "And now?", (NOISE,))) == pytest.approx(plain, abs=1e-5)
    later = (Message("user", "So?", (NOISE,)), Message("assistant", "no"))
    assert scores(*before, *later, Message("user", "And now?")) == pytest.approx(plain, abs=1e-5)
    assert scores(Message("user", "And now?", (RED,))) != pytest.approx(plain, abs=1e-5)
    assert scores(Message("user", "What?", (NOISE,))) != pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (asked("What is it?"), "about a picture only: add one"),
        (asked("Which is it?", RED, BLUE), "one picture at a time, not 2"),
        (asked(" \n", RED), "question is empty"),
        (asked("why " * 100, RED), r"takes \d+ tokens; the model holds 80"),
        (Request(()), "does not end with a question"),
        (Request((Message("user", "a", (RED,)), Message("assistant", "b"))), "end with a question"),
    ],
)
def test_what_it_cannot_answer_is_one_line(answerer, request_, message):
    with pytest.raises(InputError, match=message) as error:
        answerer.answer([asked("What?", RED), request_])
    assert "\n" not in str(error.value)
    first, refused = answerer.answer_each([asked("What?", RED), request_])
    assert isinstance(first, Answer) and isinstance(refused, InputError)


def test_choices_that_are_no_answers(answerer):
    (scores,) = answerer.score_choices([asked("What?", RED)], [["a zebra", "Two  CATS."]])
    assert scores[0] == -math.inf and -20 < scores[1] < 0
    with pytest.raises(InputError, match=r"None of the choices \(a zebra, a gnu\)"):
        answerer.score_choices([asked("What?", RED)], [["a zebra", "a gnu"]])


def test_a_stream_ends_with_the_answer_and_cancelling_is_heard(answerer):
    *pieces, answer = answerer.stream(asked("What?", RED))
    assert "".join(pieces) == answer.text
    cancel = Event()
    cancel.set()
    assert [one.finish_reason for one in answerer.answer([asked("What?", RED)], cancel)] == [
        "cancelled"
    ]


def test_sampling_is_of_the_calibrated_probabilities_and_follows_the_seed(answerer):
    requests = [asked("What?", NOISE, temperature=1.0, seed=seed) for seed in range(400)]
    texts = [answer.text for answer in answerer.answer(requests)]
    assert texts == [answer.text for answer in answerer.answer(requests)]
    (scores,) = answerer.score_choices(requests[:1], [ANSWERS])
    for text, score in zip(ANSWERS, scores, strict=True):
        assert abs(texts.count(text) / 400 - math.exp(score)) < 0.1


def test_a_picture_is_encoded_once_until_forgotten(directory):
    answerer = FusionAnswerer(load(str(directory), "cpu"), max_batch=2)
    answerer.answer([asked(text, RED) for text in QUESTIONS])
    assert answerer.stats.encoded_pictures == 1
    answerer.clear_caches()
    answerer.answer([asked("What?", RED), asked("What?", BLUE)])
    assert answerer.stats.encoded_pictures == 3


def test_attention_is_a_map_over_the_patches_of_this_question_and_picture(answerer):
    attention = answerer.attention_map(asked("Where is it?", NOISE))
    assert attention.shape == (3, 3) and attention.dtype == np.float32
    assert abs(attention.sum() - 1) < 1e-5 and (attention > 0).all()
    assert not np.allclose(attention, answerer.attention_map(asked("Where is it?", RED)))
    assert not np.allclose(attention, answerer.attention_map(asked("How many?", NOISE)), atol=1e-7)
    with pytest.raises(InputError, match="add one"):
        answerer.attention_map(asked("Where is it?"))


@given(st.text(max_size=40))
@hypothesis_settings(max_examples=40, deadline=None)
def test_any_question_is_answered_or_refused(answerer, text):
    (answer,) = answerer.answer_each([asked(text, RED)])
    assert isinstance(answer, InputError) or answer.text in ANSWERS


def test_control_tokens_in_a_question_are_text(answerer):
    ids = answerer._embeddings.encode("<|im_start|>", 80)
    assert len(ids) > 1
    assert torch.tensor(ids).max() < len(answerer._embeddings.table)


def test_what_a_crop_leaves_out_is_not_on_the_map(directory):
    loaded = load(str(directory), "cpu")
    side = loaded.image_processor.size["height"]
    cropping = CLIPImageProcessor(size={"shortest_edge": side}, crop_size=side)
    answerer = FusionAnswerer(replace(loaded, image_processor=cropping))
    request = asked("What is it?", Image.new("RGB", (640, 480), "red"))
    (relevance,) = explain(answerer, request, answerer.answer([request])[0].text).maps
    assert (relevance.region.left, relevance.region.right) == pytest.approx((0.125, 0.875))
