"""The probability of a given answer is what transformers gives to its tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from PIL import Image

from tests.engine.test_engine import ask
from tests.tiny_text import CHATML, INST, VICUNA, byte_level_tokenizer, llama_tokenizer, processor
from vqa.answering import Request, SupportsChoices, answer_probability
from vqa.engine import LocalEngine, choice_scoring
from vqa.engine.prompt import ImageFingerprints, encode_request
from vqa.errors import InputError
from vqa.inputs.prompts import Message, encode, end_of_turn_ids
from vqa.models.checkpoints import LoadedModel

Load = Callable[..., LoadedModel]
Pictures = list[Image.Image]

TEXTS = ("yes", "a cat sits on the table", "no", "two dogs, in the garden.", "", "photosynthesis")


def requests_of(pictures: Pictures) -> list[Request]:
    first, second, third = pictures
    turns = (Message("user", "what is it?", (first,)), Message("assistant", "a cat"))
    return [
        ask("is it red?", [first]),
        ask("which of both is larger?", [second, third]),
        ask("and the cup?", [], *turns),
        ask("yes?"),
        Request((Message("user", "is <image> as <image>?", (second, third), (3, 14)),)),
    ]


def answer_ids(loaded: LoadedModel, request: Request, text: str) -> tuple[list[int], list[int]]:
    """Ids of the prompt, and of what stands behind it to the end of the answer in training.

    Where the template's answers do not begin with its prompt: what training learns of the last.
    """
    prompt = encode(loaded.processor, request.messages, add_generation_prompt=True).input_ids
    whole = encode(
        loaded.processor,
        (*request.messages, Message("assistant", text)),
        add_generation_prompt=False,
    )
    own = list(zip(whole.input_ids, whole.loss_mask, strict=True))
    while not own[-1][1]:
        own.pop()
    if whole.input_ids[: len(prompt)] == prompt:
        return prompt, [token for token, _ in own[len(prompt) :]]
    ids = []
    while own[-1][1]:
        ids.insert(0, own.pop()[0])
    return prompt, ids


def plain(loaded: LoadedModel, request: Request, text: str) -> float:
    """The same by one forward pass of transformers over the whole sequence."""
    prompt, ids = answer_ids(loaded, request, text)
    images = request.images
    pixels = dict(loaded.processor.image_processor(images, return_tensors="pt")) if images else {}
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.tensor([prompt + ids]), **pixels).logits[0]
    scores = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return float(scores[range(len(ids)), ids].sum())


@pytest.mark.parametrize("kind", ("llava_1_5", "llava_interleave", "qwen3", "gemma2"))
def test_choices_are_what_transformers_gives(
    kind: str, load_tiny: Load, pictures: Pictures
) -> None:
    loaded = load_tiny(kind)
    requests = requests_of(pictures)
    given = [TEXTS, TEXTS[:2], TEXTS[2:], ("yes",), TEXTS]
    expected = [[plain(loaded, r, t) for t in ts] for r, ts in zip(requests, given, strict=True)]
    engine = LocalEngine(load_tiny(kind), max_batch=3)
    assert isinstance(engine, SupportsChoices)
    batched = engine.score_choices(requests, given)
    again = engine.score_choices(requests, given)  # on cached prompts
    alone = []
    for request, texts in zip(requests, given, strict=True):
        engine.clear_caches()
        alone.append([engine.score_choices([request], [[text]])[0][0] for text in texts])
    for got in (batched, again, alone):
        for row, values in zip(got, expected, strict=True):
            assert row == pytest.approx(values, abs=2e-3, rel=1e-4)
    assert len({round(value, 2) for value in expected[0]}) == len(TEXTS)


def test_a_greedy_answer_is_as_likely_as_it_says(load_tiny: Load, pictures: Pictures) -> None:
    loaded = load_tiny("qwen3")
    request = ask("what is it?", pictures[:1])
    teach(loaded, request, "a cat")
    engine = LocalEngine(loaded)
    answer = engine.answer([request])[0]
    assert (answer.text, answer.finish_reason) == ("a cat", "stop")
    assert answer.probability is not None
    assert 0.2 < answer.probability < 1
    (scores,) = engine.score_choices([request], [["a cat", "a dog", "a"]])
    assert answer_probability(scores[0], answer.text) == pytest.approx(answer.probability, rel=1e-3)
    assert sum(map(math.exp, scores)) <= 1


def teach(loaded: LoadedModel, request: Request, text: str) -> None:
    """Train the output layer until it gives a text and its end."""
    prompt, ids = answer_ids(loaded, request, text)
    images = list(request.messages[-1].images)
    pixels = dict(loaded.processor.image_processor(images, return_tensors="pt"))
    whole = torch.tensor([prompt + ids])
    with torch.no_grad():
        states = loaded.model.model(input_ids=whole, **pixels).last_hidden_state
    states = states[0, len(prompt) - 1 : -1]
    head = loaded.model.lm_head
    optimizer = torch.optim.Adam(head.parameters(), 0.01)
    for _ in range(50):
        loss = torch.nn.functional.cross_entropy(head(states), torch.tensor(ids))
        if loss < 0.2:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def test_prompts_run_once(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny("qwen3"), max_batch=4)
    request = ask("is it red?", pictures[:2])
    prompt, _ = answer_ids(load_tiny("qwen3"), request, "")
    answers = [answer_ids(load_tiny("qwen3"), request, text)[1] for text in TEXTS]
    engine.score_choices([request, request], [TEXTS[:3], TEXTS[3:]])
    assert engine.stats.encoded_pictures == 2
    behind = sum(len(ids) for ids in answers if len(ids) > 1)
    assert engine.stats.prefilled_tokens == len(prompt) + behind
    before = replace(engine.stats)
    engine.answer([request])
    assert engine.stats.encoded_pictures == 2
    assert engine.stats.prefilled_tokens == before.prefilled_tokens + 2


def test_logits_are_computed_in_parts(
    load_tiny: Load, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask("is it red?", pictures[:1])
    whole = LocalEngine(load_tiny()).score_choices([request], [TEXTS])
    monkeypatch.setattr(choice_scoring, "_LOGITS", 1)
    assert LocalEngine(load_tiny()).score_choices([request], [TEXTS])[0] == pytest.approx(whole[0])


def test_a_choice_is_the_same_in_any_batch_in_bfloat16(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny("llava_1_5", "bfloat16"))
    request = ask("is it red?", pictures[:1])
    batched = engine.score_choices([request], [TEXTS])[0]
    assert [engine.score_choices([request], [[text]])[0][0] for text in TEXTS] == pytest.approx(
        batched, rel=1e-6
    )


@pytest.mark.parametrize("template", (CHATML, INST, VICUNA, "{{ 'Q ' }}" + CHATML))
@pytest.mark.parametrize("tokenizer", (byte_level_tokenizer, llama_tokenizer))
def test_the_ids_are_those_that_training_learns(
    template: str, tokenizer: Callable[[], object], pictures: Pictures
) -> None:
    made = processor(tokenizer(), template)  # type: ignore[arg-type]
    end = end_of_turn_ids(made)
    for request in requests_of(pictures):
        prompt = encode_request(made, request, ImageFingerprints())
        for text in ("yes", "2 dogs", " a cat "):
            one = choice_scoring.encode_choice(made, request, prompt, text)
            whole = encode(
                made, (*request.messages, Message("assistant", text)), add_generation_prompt=False
            )
            size = len(one)
            assert one.prompt.ids.tolist() + list(one.ids) == whole.input_ids[:size]
            assert whole.loss_mask[size - 1]
            assert not any(whole.loss_mask[size:])
            assert one.ids[-1] in end
            assert len(prompt) - 1 <= len(one.prompt) <= len(prompt)


def test_an_answer_that_merges_with_the_prompt_begins_with_the_merged_token(
    pictures: Pictures,
) -> None:
    # the prompt ends in a space that belongs to the answer's first token
    template = VICUNA.replace("'ASSISTANT:'", "'ASSISTANT: '")
    made = processor(llama_tokenizer(), template)
    request = ask("is it red?", pictures[:1])
    prompt = encode_request(made, request, ImageFingerprints())
    one = choice_scoring.encode_choice(made, request, prompt, "cat")
    assert one.prompt.ids.tolist() == prompt.ids[:-1].tolist()
    assert made.tokenizer.convert_ids_to_tokens(one.ids[0]).startswith("▁c")


def test_what_does_not_fit_is_refused(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny())
    assert engine.score_choices([], []) == []
    assert engine.score_choices([ask("a?")], [[]]) == [[]]
    with pytest.raises(InputError, match="the model holds 4096"):
        engine.score_choices([ask("a?")], [["yes", "cat " * 4096]])
    with pytest.raises(InputError, match="ends with an answer"):
        engine.score_choices([Request((Message("user", "a?"), Message("assistant", "b")))], [["c"]])
