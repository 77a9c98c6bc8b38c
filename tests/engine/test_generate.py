"""Any vision-language model of transformers behind the answerer's protocol, by tiny ones."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from tests import tiny_vlms
from tests.vlm_architectures import ARCHITECTURES
from tests.vlm_checks import ABILITIES, CHECKS, EARLIER, NEW, ONE, Case, ability, asked, same
from vqa.answering import Answer, SamplingParams, answer_probability
from vqa.engine.detokenizer import decode_completion
from vqa.errors import InputError, NotFiniteError
from vqa.inputs.prompts import Message
from vqa.loading import load

NAMES = tuple(ARCHITECTURES)


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """The tiny model of an architecture, written and loaded once."""
    cases: dict[str, Case] = {}

    def get(name: str) -> Case:
        if name not in cases:
            cases[name] = Case(name, tiny_vlms.write(tmp_path_factory.mktemp(name), name))
        return cases[name]

    return get


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.__name__)
def test_an_architecture(
    name: str, check: Callable[[Case], None], case_of: Callable[[str], Case]
) -> None:
    check(case_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_what_an_architecture_lacks_is_refused_in_one_line(
    name: str, case_of: Callable[[str], Case]
) -> None:
    case = case_of(name)
    able = {what for what, messages in ABILITIES.items() if ability(case, *messages)}
    assert able == set(ABILITIES) - case.kind.lacks


def test_seeds_hold_in_any_batch(case_of: Callable[[str], Case]) -> None:
    answerer = case_of("qwen2_vl").answerer
    sampled = [asked(ONE, temperature=1.0, seed=seed) for seed in range(4)]
    alone = [answerer.answer([request])[0] for request in sampled]
    assert len({answer.text for answer in alone}) > 1
    together = answerer.answer([asked(*EARLIER, Message("user", "why?")), *sampled])[1:]
    assert all(map(same, alone, together))
    narrow = replace(sampled[0], settings=SamplingParams(NEW, 1.0, top_p=1e-9))
    assert same(*answerer.answer([narrow, asked(ONE)]))


def test_each_row_has_its_own_limit(case_of: Callable[[str], Case]) -> None:
    answerer = case_of("gemma3").answerer
    requests = [asked(ONE, max_new_tokens=n) for n in (5, 1, 3)]
    answers = answerer.answer(requests)
    assert [answer.new_tokens for answer in answers] == [5, 1, 3]
    assert {answer.finish_reason for answer in answers} == {"length"}
    # the product of the probabilities of its tokens
    first, second = answers[1].probability, answers[2].probability
    assert first is not None and second is not None and 0 < second < first <= 1


def test_an_answer_ends_where_the_model_ends_it(
    case_of: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of("internvl")
    third = case.plain(ONE)[2]
    monkeypatch.setattr(case.answerer, "end_ids", frozenset([third]))
    (answer,) = case.answerer.answer([asked(ONE)])
    assert answer.finish_reason == "stop"
    assert answer.new_tokens == case.plain(ONE).index(third) + 1


def test_cancelling_ends_at_the_next_token(case_of: Callable[[str], Case]) -> None:
    answerer = case_of("qwen3_vl").answerer
    cancel = threading.Event()
    stream = answerer.stream(asked(ONE, max_new_tokens=1500), cancel)
    pieces = [next(stream)]
    cancel.set()
    *rest, last = stream
    assert isinstance(last, Answer) and last.finish_reason == "cancelled"
    assert last.new_tokens < 100
    assert "".join(map(str, pieces + rest)) == last.text


def test_a_stream_that_nobody_reads_gives_the_model_back(case_of: Callable[[str], Case]) -> None:
    answerer = case_of("qwen3_vl").answerer
    stream = answerer.stream(asked(ONE, max_new_tokens=1500))
    next(stream)
    stream.close()
    (answer,) = answerer.answer([asked(ONE)])  # would wait for 1500 tokens
    assert answer.finish_reason == "length"
    assert not [t for t in threading.enumerate() if t.name == "vqa-generate"]


def test_a_conversation_that_is_too_long_is_refused(case_of: Callable[[str], Case]) -> None:
    answerer = case_of("idefics3").answerer
    with pytest.raises(InputError, match="the model holds 2048: use fewer pictures"):
        answerer.answer([asked(replace(ONE, text="why? " * 1000))])
    with pytest.raises(InputError, match=r"with a choice takes .*the model holds 2048"):
        answerer.score_choices([asked(ONE)], [["why? " * 1000]])


def test_settings_of_the_checkpoint_hold_but_no_other_way_to_search(tmp_path: Path) -> None:
    directory = tiny_vlms.write(tmp_path / "m", "llava_onevision")
    plain = Case("llava_onevision", directory).plain(ONE)
    settings = {"repetition_penalty": 50.0, "temperature": 0.1, "top_k": 1, "do_sample": True}
    others = {"num_beams": 4, "penalty_alpha": 0.6, "prompt_lookup_num_tokens": 3}
    path = directory / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    case = Case("llava_onevision", directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case.model.generation_config, "temperature", None)
        expected = case.plain(ONE)
    assert expected != plain  # the penalty holds
    path.write_text(json.dumps(json.loads(path.read_text()) | others))
    (answer,) = Case("llava_onevision", directory).answerer.answer([asked(ONE)])
    (same_answer,) = case.answerer.answer([asked(ONE)])
    assert same(answer, same_answer) and answer.new_tokens == len(expected)


@pytest.mark.parametrize("name", ["qwen2_vl", "mllama"])
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_the_language_model_alone_is_quantized(
    name: str, bits: str, case_of: Callable[[str], Case]
) -> None:
    directory = case_of(name).directory
    answerer = load(str(directory), device="cpu", dtype="float32", quantize=bits)  # type: ignore[arg-type]
    model = answerer._model  # type: ignore[attr-defined]
    kinds = {
        part: {
            type(m).__name__
            for key, m in model.named_modules()
            if "Linear" in type(m).__name__ and ("language_model" in key) is (part == "text")
        }
        for part in ("text", "others")
    }
    assert kinds["others"] == {"Linear"}
    assert kinds["text"] <= {"Linear4bit", "Linear8bitLt"} and kinds["text"]
    (answer,) = answerer.answer([asked(ONE)])
    assert answer.new_tokens


def test_an_adapter_is_merged_into_its_model(
    case_of: Callable[[str], Case], tmp_path: Path
) -> None:
    case = case_of("qwen2_5_vl")
    model = AutoModelForImageTextToText.from_pretrained(case.directory, dtype=torch.float32)
    pattern = r".*language_model.*\.(q|v)_proj"
    torch.manual_seed(0)
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=4, target_modules=pattern, init_lora_weights=False)
    )
    adapted.peft_config["default"].base_model_name_or_path = str(case.directory)
    adapted.save_pretrained(tmp_path)
    answerer = load(str(tmp_path), device="cpu", dtype="float32")
    (answer,) = answerer.answer([asked(ONE)])
    inputs = case.official_inputs(ONE)
    pad = case.processor.tokenizer.pad_token_id
    ids = adapted.generate(**inputs, max_new_tokens=NEW, do_sample=False, pad_token_id=pad)[0]
    text = case.processor.tokenizer.decode(ids[inputs["input_ids"].shape[1] :])
    assert (
        answer.text.strip("\ufffd") in text
        and answer.text != case.answerer.answer([asked(ONE)])[0].text
    )


def test_identities_tell_weights_and_types_apart(
    case_of: Callable[[str], Case], tmp_path: Path
) -> None:
    directory = case_of("paligemma").directory
    identities = [
        load(str(directory), device="cpu", dtype=dtype).identity  # type: ignore[attr-defined]
        for dtype in ("float32", "bfloat16", "float32")
    ]
    assert identities[0] == identities[2] != identities[1]


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    directory = tiny_vlms.write(tmp_path / "m", "mistral3")
    path = directory / "model.safetensors"
    weights = load_file(path)
    name = next(key for key in weights if key.endswith("model.norm.weight"))
    weights[name][0] = math.nan
    save_file(weights, path, {"format": "pt"})
    answerer = load(str(directory), device="cpu", dtype="float32")
    with pytest.raises(NotFiniteError, match=r"norm\.weight holds NaN"):
        answerer.answer([asked(ONE)])
    with pytest.raises(NotFiniteError, match=r"norm\.weight holds NaN"):
        list(answerer.stream(asked(ONE)))
    with pytest.raises(NotFiniteError):
        answerer.score_choices([asked(ONE)], [["a cat"]])  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["qwen2_vl", "smolvlm", "gemma3", "llava_next"])
def test_beams_are_those_of_generate(name: str, case_of: Callable[[str], Case]) -> None:
    case = case_of(name)
    inputs = case.official_inputs(ONE)
    begin = inputs["input_ids"].shape[1]
    for num_beams, length_penalty, tokens in ((2, 1.0, 6), (3, 0.7, 4), (4, -1.0, 6)):
        settings = {"num_beams": num_beams, "length_penalty": length_penalty}
        plain = case.model.generate(
            **inputs, **settings, max_new_tokens=tokens, do_sample=False, output_scores=True,
            eos_token_id=sorted(case.answerer.end_ids), return_dict_in_generate=True,
            pad_token_id=case.processor.tokenizer.pad_token_id,
        )  # fmt: skip
        likelihoods = case.model.compute_transition_scores(
            plain.sequences, plain.scores, plain.beam_indices, normalize_logits=False
        )
        request = asked(ONE, max_new_tokens=tokens, **settings)
        (answer,) = case.answerer.answer([request])
        ids = plain.sequences[0, begin:].tolist()
        text = [token for token in ids if token not in case.answerer.end_ids]
        assert answer.text == decode_completion(case.processor.tokenizer, text)
        total = float(likelihoods[0].sum())
        assert answer.probability == pytest.approx(answer_probability(total, answer.text), rel=1e-3)
        *pieces, last = case.answerer.stream(request)
        assert isinstance(last, Answer) and same(last, answer) and "".join(pieces) == answer.text


def test_beams_in_a_batch_are_those_alone(case_of: Callable[[str], Case]) -> None:
    answerer = case_of("qwen2_vl").answerer
    requests = [
        asked(ONE, num_beams=3),
        asked(ONE, num_beams=3, max_new_tokens=2),
        asked(*EARLIER, Message("user", "why?"), num_beams=3),
        asked(ONE),
        asked(ONE, num_beams=2, length_penalty=0.5),
    ]
    alone = [answerer.answer([request])[0] for request in requests]
    assert all(map(same, answerer.answer(requests), alone))
    assert [answer.new_tokens <= NEW for answer in alone] == [True] * len(alone)
    stopped = threading.Event()
    stopped.set()
    assert {a.finish_reason for a in answerer.answer(requests, stopped)} == {"cancelled"}


def test_beams_of_a_damaged_model_are_refused(
    case_of: Callable[[str], Case], tmp_path: Path
) -> None:
    answerer = load(str(case_of("qwen2_vl").directory), device="cpu", dtype="float32")
    head = answerer._model.get_output_embeddings()  # type: ignore[attr-defined]
    head.weight.data[3] = math.nan
    with pytest.raises(NotFiniteError):
        answerer.answer([asked(ONE, num_beams=2)])
