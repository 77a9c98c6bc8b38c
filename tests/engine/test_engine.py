"""The engine answers as transformers does, alone and in batches, with and without its caches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from PIL import Image

from tests.engine.conftest import KINDS
from vqa.answering import Answer, Request, SamplingParams, answer_probability
from vqa.engine import LocalEngine
from vqa.engine.detokenizer import decode_completion
from vqa.errors import InputError, VQAError
from vqa.inputs.placeholders import join_with_pictures
from vqa.inputs.prompts import Message, encode
from vqa.models.checkpoints import LoadedModel

Load = Callable[..., LoadedModel]
Pictures = list[Image.Image]


def ask(
    question: str, images: Sequence[Image.Image] = (), *before: Message, **settings: float
) -> Request:
    new = Message("user", question, tuple(images))
    given = SamplingParams(**{"max_new_tokens": 12, **settings})  # type: ignore[arg-type]
    return Request((*before, new), given)


def mixed(pictures: Pictures) -> list[Request]:
    """Lengths, numbers of pictures and turns that differ, two questions about the same picture."""
    first, second, third = pictures
    turns = (Message("user", "what is it?", (first,)), Message("assistant", "a cat"))
    return [
        ask("what is in the picture?", [first]),
        ask("is it red? yes or no, and say how many dogs there are in the garden", [second]),
        ask("yes?"),
        ask("and the cup?", [], *turns),
        ask("which of both is larger?", [second, third]),
        ask("how many?", [first]),
        placed("is <image> the same as <image>?", [second, third]),
        placed("is <image> the same as <image>, or larger?", [second, third]),
        placed("what of <image> is in <image>", [first, second, third]),
    ]


def placed(question: str, images: Sequence[Image.Image]) -> Request:
    """Ask with the last pictures where the text has them."""
    text, places = join_with_pictures(question.split("<image>"))
    return Request(
        (Message("user", text, tuple(images), places),), SamplingParams(max_new_tokens=12)
    )


def same(left: Sequence[Answer], right: Sequence[Answer]) -> None:
    assert [(a.text, a.finish_reason, a.new_tokens) for a in left] == [
        (a.text, a.finish_reason, a.new_tokens) for a in right
    ]
    for a, b in zip(left, right, strict=True):
        assert a.probability == pytest.approx(b.probability, rel=1e-3)


def end_at(loaded: LoadedModel, request: Request, number: int) -> int:
    """Let answers end at the token that this request's answer has at `number`; returns it."""
    ids, _ = generate(loaded, request)
    assert ids[number] not in ids[:number]
    loaded.model.generation_config.eos_token_id = ids[number]
    return ids[number]


def generate(loaded: LoadedModel, request: Request) -> tuple[list[int], float]:
    """Ids and probability by transformers' generate()."""
    prompt = encode(loaded.processor, request.messages, add_generation_prompt=True).input_ids
    ids = torch.tensor([prompt])
    images = request.images
    pixels = {}
    if images:
        pixels = dict(loaded.processor.image_processor(images, return_tensors="pt"))
    got = loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **pixels,
        max_new_tokens=request.settings.max_new_tokens,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    new = got.sequences[0, len(prompt) :].tolist()
    logs = [step[0].log_softmax(-1)[token] for step, token in zip(got.logits, new, strict=True)]
    ended = len(new) < request.settings.max_new_tokens
    text = decode_completion(loaded.processor.tokenizer, new[:-1] if ended else new)
    return new, answer_probability(float(torch.stack(logs).sum()), text)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_is_what_generate_gives(kind: str, load_tiny: Load, pictures: Pictures) -> None:
    requests = mixed(pictures)
    loaded = load_tiny(kind)
    expected = [generate(loaded, request) for request in requests]
    assert len({tuple(ids) for ids, _ in expected}) > 3  # the model does look at what it is given
    engine = LocalEngine(loaded, prefix_bytes=0)
    for request, (ids, probability) in zip(requests, expected, strict=True):
        answer = engine.answer([request])[0]
        text_ids = ids[:-1] if answer.finish_reason == "stop" else ids
        assert answer.text == decode_completion(loaded.processor.tokenizer, text_ids)
        assert answer.new_tokens == len(ids)
        assert answer.probability == pytest.approx(probability, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_batched_equals_single_and_reused_equals_fresh(
    kind: str, load_tiny: Load, pictures: Pictures
) -> None:
    requests = mixed(pictures)
    engine = LocalEngine(load_tiny(kind))
    single = []
    for request in requests:
        engine.clear_caches()
        single += engine.answer([request])
    engine.clear_caches()
    same(engine.answer(requests), single)
    same(engine.answer(requests), single)  # on what the batch has left
    same([engine.answer([request])[0] for request in requests], single)
    engine.clear_caches()
    same([engine.answer([request])[0] for request in requests], single)  # one on the other
    small = LocalEngine(load_tiny(kind), max_batch=2, feature_bytes=0, prefix_bytes=0)
    same(small.answer(requests), single)


def test_what_is_kept_holds_for_the_places_of_the_pictures(
    load_tiny: Load, pictures: Pictures
) -> None:
    first, second, _ = pictures
    engine = LocalEngine(load_tiny("llava_interleave"))
    requests = [
        placed("is <image> red and <image> blue?", [first, second]),
        placed("is <image> red and blue <image>?", [first, second]),
        placed("is <image> red and <image> blue?", [second, first]),
        ask("is <image> red and <image> blue?", [first, second]),
    ]
    fresh = []
    for request in requests:
        engine.clear_caches()
        fresh += engine.answer([request])
    engine.clear_caches()
    new = []
    for request, answer in zip(requests, fresh, strict=True):
        before = engine.stats.prefilled_tokens
        same(engine.answer([request]), [answer])
        new.append(engine.stats.prefilled_tokens - before)
    longest = max(answer.prompt_tokens for answer in fresh)
    # what stands before the first picture that differs, and that picture, is not computed again
    assert new[1] < longest - 4 and new[3] < longest
    before = engine.stats.prefilled_tokens
    same(engine.answer(requests[:1]), fresh[:1])
    assert engine.stats.prefilled_tokens - before < 3


def test_the_next_question_runs_no_encoder_and_only_its_new_tokens(
    load_tiny: Load, pictures: Pictures
) -> None:
    loaded = load_tiny()
    engine = LocalEngine(loaded)
    first, second = ask("what is it?", pictures[:1]), ask("is it red?", pictures[:1])
    answer = engine.answer([first])[0]
    assert answer.image_tokens == 4
    assert engine.stats.encoded_pictures == 1
    assert engine.stats.prefilled_tokens == answer.prompt_tokens
    assert engine.stats.decoded_tokens == answer.new_tokens - 1

    copied = ask("is it red?", [pictures[0].copy()])  # the content counts, not the object
    before = replace(engine.stats)
    reused = engine.answer([copied])[0]
    assert engine.stats.encoded_pictures == before.encoded_pictures
    ids = [
        encode(loaded.processor, request.messages, add_generation_prompt=True).input_ids
        for request in (first, second)
    ]
    common = next(i for i, (a, b) in enumerate(zip(*ids, strict=False)) if a != b)
    assert common > ids[0].index(loaded.processor.image_token_id) + 4
    assert engine.stats.prefilled_tokens - before.prefilled_tokens == len(ids[1]) - common
    same([reused], LocalEngine(load_tiny()).answer([second]))


def test_the_next_turn_runs_only_its_new_tokens(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny())
    first = ask("what is it?", pictures[:2], max_new_tokens=6)
    answer = engine.answer([first])[0]
    turn = ask("is it red?", [], *first.messages, Message("assistant", answer.text))
    before = replace(engine.stats)
    reused = engine.answer([turn])[0]
    ran = engine.stats.prefilled_tokens - before.prefilled_tokens
    assert ran < reused.prompt_tokens - (answer.prompt_tokens - 2)  # borders may merge
    assert engine.stats.encoded_pictures == before.encoded_pictures
    same([reused], LocalEngine(load_tiny()).answer([turn]))

    again = replace(engine.stats)
    engine.answer([turn])  # the same once more: the last two tokens, for the logits
    assert engine.stats.prefilled_tokens == again.prefilled_tokens + 2


def test_another_picture_shares_nothing_behind_it(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny())
    engine.answer([ask("what is it?", pictures[:1])])
    before = replace(engine.stats)
    other = engine.answer([ask("what is it?", pictures[1:2])])[0]
    assert engine.stats.encoded_pictures == before.encoded_pictures + 1
    assert engine.stats.prefilled_tokens - before.prefilled_tokens >= other.image_tokens
    same([other], LocalEngine(load_tiny()).answer([ask("what is it?", pictures[1:2])]))


def test_a_batch_computes_a_shared_picture_once(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny())
    questions = ["what is it?", "is it red?", "how many dogs?", "where is the cup?", "and?"]
    requests = [ask(question, pictures) for question in questions]
    requests.append(ask("what is it?", pictures[:1]))
    answers = engine.answer(requests)
    assert engine.stats.encoded_pictures == 3
    total = sum(answer.prompt_tokens for answer in answers)
    assert engine.stats.prefilled_tokens < 0.75 * total
    singles = [LocalEngine(load_tiny()).answer([request])[0] for request in requests]
    same(answers, singles)


def test_answers_end_at_the_end_of_turn_and_leave_the_batch(
    load_tiny: Load, pictures: Pictures
) -> None:
    loaded = load_tiny()
    requests = mixed(pictures)
    end_at(loaded, requests[0], 3)
    engine = LocalEngine(loaded)
    answers = engine.answer(requests)
    assert answers[0].finish_reason == "stop"
    assert answers[0].new_tokens == 4
    assert "length" in {answer.finish_reason for answer in answers}
    engine.clear_caches()
    same([engine.answer([request])[0] for request in requests], answers)
    assert generate(loaded, requests[0])[1] == pytest.approx(answers[0].probability, rel=1e-3)


def test_long_answers_outgrow_their_buffers(load_tiny: Load, pictures: Pictures) -> None:
    loaded = load_tiny("qwen3")
    request = ask("what is it?", pictures[:1], max_new_tokens=170)
    ids, _ = generate(loaded, request)
    assert len(ids) == 170
    answers = LocalEngine(loaded).answer([request, ask("and this?", pictures)])
    assert answers[0].text == decode_completion(loaded.processor.tokenizer, ids)


def test_sampling_depends_on_the_seed_alone(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny())
    requests = [
        ask("what is it?", pictures[:1], temperature=1.5, seed=1),
        ask("what is it?", pictures[:1], temperature=1.5, seed=2),
        ask("what is it?", pictures[:1]),
        ask("is it red?", pictures[1:], temperature=1.2, top_p=0.9, seed=1),
        ask("what is it?", pictures[:1], temperature=1.5, seed=1),
    ]
    batch = engine.answer(requests)
    assert batch[0].text == batch[4].text
    assert len({answer.text for answer in batch}) == 4
    engine.clear_caches()
    same([engine.answer([request])[0] for request in requests], batch)
    narrow = ask("what is it?", pictures[:1], temperature=1.5, top_p=1e-6, seed=1)
    same(engine.answer([narrow]), [batch[2]])


@pytest.mark.parametrize("kind", ("llava_1_5", "llava_interleave"))
def test_a_stream_is_its_answer_in_pieces(kind: str, load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny(kind))
    request = ask("what is it?", pictures[:1], max_new_tokens=60, temperature=2.0, seed=3)
    *pieces, answer = engine.stream(request)
    assert isinstance(answer, Answer)
    assert len(pieces) > 5
    assert all(isinstance(piece, str) and piece for piece in pieces)
    assert "".join(str(piece) for piece in pieces) == answer.text
    same(engine.answer([request]), [answer])
    assert 0 < answer.seconds.encode < answer.seconds.first_token < answer.seconds.total


def test_cancel_ends_at_the_next_token(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny())
    cancel = threading.Event()
    request = ask("what is it?", pictures[:1], max_new_tokens=400)
    pieces = []
    answer = None
    for piece in engine.stream(request, cancel):
        if isinstance(piece, Answer):
            answer = piece
        else:
            pieces.append(piece)
            cancel.set()
    assert answer is not None
    assert answer.finish_reason == "cancelled"
    assert len(pieces) == 1
    assert 0 < answer.new_tokens < 10
    assert answer.text == pieces[0]

    before = replace(engine.stats)
    ended = engine.answer([request, request], cancel)  # set from the beginning: nothing runs
    assert [(a.finish_reason, a.new_tokens, a.probability) for a in ended] == [
        ("cancelled", 0, None)
    ] * 2
    assert engine.stats == before
    cancel.clear()
    same(
        engine.answer([ask("what is it?", pictures[:1])], cancel),
        LocalEngine(load_tiny()).answer([ask("what is it?", pictures[:1])]),
    )


def test_threads_share_an_engine(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny(dtype="bfloat16"))
    requests = mixed(pictures)
    expected = [LocalEngine(load_tiny(dtype="bfloat16")).answer([r])[0] for r in requests]
    answers: dict[int, Answer] = {}

    def run(number: int) -> None:
        answers[number] = engine.answer([requests[number]])[0]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[n].prompt_tokens for n in range(len(requests))] == [
        a.prompt_tokens for a in expected
    ]
    assert [answers[n].new_tokens for n in range(len(requests))] == [a.new_tokens for a in expected]
    assert torch.backends.mkldnn.enabled


def test_what_cannot_be_answered_is_refused(load_tiny: Load, pictures: Pictures) -> None:
    engine = LocalEngine(load_tiny())
    assert engine.answer([]) == []
    with pytest.raises(InputError, match="the model holds 4096"):
        engine.answer([ask("cat " * 4096, pictures[:1])])
    with pytest.raises(InputError, match="ends with an answer"):
        engine.answer([Request((Message("user", "a?"), Message("assistant", "b")))])
    for wrong in ({"max_new_tokens": 0}, {"temperature": -1}, {"top_p": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            SamplingParams(**wrong)  # type: ignore[arg-type]


def test_a_full_memory_of_a_cpu_is_told_with_what_to_do(
    load_tiny: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(load_tiny())

    def too_large(*_: object) -> None:
        torch.empty(2**60)

    monkeypatch.setattr(engine, "_prefill", too_large)
    with pytest.raises(VQAError, match="ask fewer questions at once"):
        engine.answer([ask("what?")])


def test_an_answer_fits_into_the_context(load_tiny: Load) -> None:
    loaded = load_tiny()
    loaded.model.config.text_config.max_position_embeddings = 64
    engine = LocalEngine(loaded)
    answer = engine.answer([ask("what is in the picture? is it red?", max_new_tokens=100)])[0]
    assert answer.prompt_tokens < 64
    assert answer.prompt_tokens + answer.new_tokens == 64
    assert answer.finish_reason == "length"
