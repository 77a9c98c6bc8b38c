"""Beam search gives what transformers' generate gives, alone and in batches, and can be stopped."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.engine.conftest import KINDS
from tests.engine.test_engine import ask, mixed, same
from vqa.answering import Answer, Request, SamplingParams, answer_probability
from vqa.engine import LocalEngine
from vqa.engine.detokenizer import decode_completion
from vqa.errors import InputError, NotFiniteError
from vqa.inputs.hints import with_hints
from vqa.inputs.images import load_image
from vqa.inputs.prompts import encode, end_of_turn_ids
from vqa.models.checkpoints import LoadedModel, load

Load = Callable[..., LoadedModel]
Pictures = list[Image.Image]


def with_beams(
    request: Request, num_beams: int, length_penalty: float = 1.0, tokens: int = 12
) -> Request:
    return replace(
        request,
        settings=SamplingParams(tokens, num_beams=num_beams, length_penalty=length_penalty),
    )


def end_ids(loaded: LoadedModel) -> list[int]:
    """List the ids that end an answer of the engine, and make generate() end at the same."""
    settings = loaded.model.generation_config
    listed = settings.eos_token_id if isinstance(settings.eos_token_id, list) else []
    settings.eos_token_id = sorted({*end_of_turn_ids(loaded.processor), *listed})
    return settings.eos_token_id


def generate(loaded: LoadedModel, request: Request) -> tuple[str, int, float]:
    """Text, number of tokens and log probability by transformers' generate()."""
    prompt = encode(loaded.processor, request.messages, add_generation_prompt=True).input_ids
    ids = torch.tensor([prompt])
    pixels = {}
    if request.images:
        pixels = dict(loaded.processor.image_processor(request.images, return_tensors="pt"))
    settings, ends = request.settings, end_ids(loaded)
    got = loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **pixels,
        max_new_tokens=settings.max_new_tokens,
        num_beams=settings.num_beams,
        length_penalty=settings.length_penalty,
        early_stopping=False,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    new = got.sequences[0, len(prompt) :].tolist()
    text = decode_completion(loaded.processor.tokenizer, new[:-1] if new[-1] in ends else new)
    score = float(got.sequences_scores[0]) * len(new) ** settings.length_penalty
    return text, len(new), score


def end_often(loaded: LoadedModel, requests: list[Request]) -> None:
    """Let answers end at several tokens that the model likes to write in the middle of one."""
    liked: list[int] = []
    for request in requests:
        text, _, _ = generate(loaded, with_beams(request, 2))
        liked += loaded.processor.tokenizer(text, add_special_tokens=False).input_ids[5:8]
    loaded.model.generation_config.eos_token_id = [*end_ids(loaded), *liked]


@pytest.mark.parametrize("kind", KINDS)
def test_beams_give_what_generate_gives(kind: str, load_tiny: Load, pictures: Pictures) -> None:
    loaded = load_tiny(kind)
    requests = mixed(pictures)
    end_often(loaded, requests[:2])
    engine = LocalEngine(loaded)
    finishes, better = set(), 0
    for number, request in enumerate(requests):
        greedy = engine.answer([request])[0]
        for num_beams, length_penalty in ((2, 1.0), (3, 0.7), (5, -1.0), (4, 2.0)):
            searched = with_beams(request, num_beams, length_penalty, tokens=6 + 3 * number)
            text, tokens, log_prob = generate(loaded, searched)
            answer = engine.answer([searched])[0]
            assert (answer.text, answer.new_tokens) == (text, tokens)
            expected = answer_probability(log_prob, text)
            assert answer.probability == pytest.approx(expected, rel=1e-3)
            finishes.add(answer.finish_reason)
            better += answer.text != greedy.text
    assert finishes == {"stop", "length"}
    assert better > 10  # the beams do change answers


@pytest.mark.weights
def test_the_embedded_model_describes_a_cat_as_generate_does(examples: Path) -> None:
    loaded = load("embedded", dtype="float32")
    question = ask("Describe the image.", [load_image(examples / "cat.jpg")])
    request = with_beams(question, 3, 0.7, tokens=32)
    answer = LocalEngine(loaded).answer([request])[0]
    plain = replace(request, messages=with_hints(request.messages, answer.hints))
    text, tokens, log_prob = generate(loaded, plain)
    assert (answer.text, answer.new_tokens) == (text, tokens)
    assert answer.probability == pytest.approx(answer_probability(log_prob, text), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_batched_equals_single_and_reused_equals_fresh(
    kind: str, load_tiny: Load, pictures: Pictures
) -> None:
    loaded = load_tiny(kind)
    requests = [
        with_beams(request, 1 + number % 4, 0.7 + number % 2, tokens=8 + number)
        for number, request in enumerate(mixed(pictures))
    ]
    end_often(loaded, requests[:2])
    requests.append(ask("what is it?", pictures[:1], temperature=1.5, seed=1))
    fresh = LocalEngine(loaded, prefix_bytes=0)
    single = [fresh.answer([request])[0] for request in requests]
    engine = LocalEngine(loaded)
    same(engine.answer(requests), single)
    same(engine.answer(requests), single)  # on what the batch has left
    same([engine.answer([request])[0] for request in requests], single)
    same(LocalEngine(loaded, max_batch=2).answer(requests), single)


def test_the_next_question_runs_only_its_new_tokens(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny())
    request = with_beams(ask("what is it?", pictures[:1]), 3)
    first = engine.answer([request])[0]
    assert engine.stats.prefilled_tokens == first.prompt_tokens  # once, for all beams
    same(engine.answer([request]), [first])
    assert engine.stats.prefilled_tokens == first.prompt_tokens + 2
    assert engine.stats.encoded_pictures == 1


def test_a_stream_takes_no_word_back(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny())
    request = with_beams(ask("what is it?", pictures[:1]), 3)
    *pieces, answer = engine.stream(request)
    assert isinstance(answer, Answer)
    assert "".join(map(str, pieces)) == answer.text
    same(engine.answer([request]), [answer])


class StopAfter(threading.Event):
    """Set once it has been asked so often."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._left = times

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize("kind", ["llava_1_5", "llava_interleave"])
def test_a_stopped_search_gives_the_best_so_far(
    kind: str, load_tiny: Load, pictures: Pictures
) -> None:
    loaded = load_tiny(kind)
    requests = [with_beams(request, 3, 0.7, tokens=200) for request in mixed(pictures)[:4]]
    end_often(loaded, requests)
    engine = LocalEngine(loaded)
    (unasked,) = {(a.text, a.finish_reason) for a in engine.answer(requests, StopAfter(0))}
    assert unasked == ("", "cancelled")
    ended_before = 0
    for stop in range(1, 13):
        for request, answer in zip(requests, engine.answer(requests, StopAfter(stop)), strict=True):
            # a limit of so many tokens ends all beams there, and the best of all is the answer
            text, tokens, log_prob = generate(loaded, with_beams(request, 3, 0.7, tokens=stop))
            assert answer.text == text  # without an end of turn
            if answer.finish_reason == "stop":  # the others went on
                continue
            assert answer.finish_reason == "cancelled"
            ended_before += answer.new_tokens < tokens
            if answer.new_tokens == tokens:
                expected = answer_probability(log_prob, text)
                assert answer.probability == pytest.approx(expected, rel=1e-3)
    assert ended_before


def test_what_is_no_beam_search_is_refused(load_tiny: Load, pictures: Pictures) -> None:
    for wrong in (
        {"num_beams": 0}, {"num_beams": 1_000_000}, {"num_beams": 3, "temperature": 0.5},
        {"length_penalty": math.nan}, {"length_penalty": 1e9},
    ):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(wrong))):
            SamplingParams(**wrong)  # type: ignore[arg-type]
    engine = LocalEngine(load_tiny())
    ((key, error),) = engine.open_batch().add({7: with_beams(ask("what?", pictures[:1]), 2)})
    assert key == 7
    assert isinstance(error, InputError)


def test_numbers_that_are_not_finite_are_refused(load_tiny: Load, pictures: Pictures) -> None:
    loaded = load_tiny()
    with torch.no_grad():
        loaded.model.lm_head.weight[7] = math.nan
    with pytest.raises(NotFiniteError):
        LocalEngine(loaded).answer([with_beams(ask("what?", pictures[:1]), 3)])
