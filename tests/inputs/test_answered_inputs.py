"""Conversations with answers, for training models of any kind: their tokens and loss masks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests import tiny_vlms
from tests.vlm_architectures import ARCHITECTURES
from tests.vlm_checks import EARLIER, ONE, TWO, Case
from vqa.errors import InputError
from vqa.inputs.processor_inputs import ModelInputs, completion_ids, prepare_inputs
from vqa.inputs.prompts import Message, end_of_turn_ids

ANSWER = Message("assistant", "two dogs, in the garden")
WHERE = Message("user", "and where?")


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    cases: dict[str, Case] = {}

    def get(name: str) -> Case:
        if name not in cases:
            cases[name] = Case(name, tiny_vlms.write(tmp_path_factory.mktemp(name), name))
        return cases[name]

    return get


def rows(inputs: ModelInputs) -> list[list[int]]:
    ids = inputs.tensors["input_ids"].tolist()
    return [row[:length] for row, length in zip(ids, inputs.lengths, strict=True)]


def learned(inputs: ModelInputs, row: int = 0) -> list[int]:
    pairs = zip(rows(inputs)[row], inputs.loss_masks[row], strict=True)
    return [token for token, in_loss in pairs if in_loss]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_answer_stands_behind_the_prompt_by_which_it_is_asked_for(
    name: str, case_of: Callable[[str], Case]
) -> None:
    processor = case_of(name).own_processor
    (prompt,) = rows(prepare_inputs(processor, [(ONE,)]))
    inputs = prepare_inputs(processor, [(ONE, ANSWER)], answered=True)
    (ids,) = rows(inputs)
    assert ids[: len(prompt)] == prompt
    assert ids[len(prompt) :] == completion_ids(processor, (ONE,), ANSWER.text)
    assert ids[-1] in end_of_turn_ids(processor)
    assert inputs.loss_masks[0] == [False] * len(prompt) + [True] * (len(ids) - len(prompt))
    text = processor.tokenizer.decode(learned(inputs)[:-1])
    assert text.strip() == ANSWER.text


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tokens_are_those_of_the_chat_template(name: str, case_of: Callable[[str], Case]) -> None:
    case = case_of(name)
    if case.kind.template is None:
        pytest.skip("a processor without a template")
    conversation: Any = [
        {"role": "user", "content": [
            {"type": "image", "image": ONE.images[0]}, {"type": "text", "text": ONE.text}]},
        {"role": "assistant", "content": [{"type": "text", "text": ANSWER.text}]},
    ]  # fmt: skip
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    whole = case.processor.apply_chat_template(conversation, **options)["input_ids"][0].tolist()
    (ids,) = rows(prepare_inputs(case.own_processor, [(ONE, ANSWER)], answered=True))
    (prompt,) = rows(prepare_inputs(case.own_processor, [(ONE,)]))
    if name == "llava_onevision":  # whose template begins an answer otherwise than it asks for one
        assert whole[: len(prompt)] != prompt
        return
    length = next((n for n, pair in enumerate(zip(ids, whole)) if pair[0] != pair[1]), len(whole))  # noqa: B905
    assert length >= len(ids) - 1  # where the template ends no answer, the end is added


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_answer_of_a_conversation_is_learned_and_nothing_else(
    name: str, case_of: Callable[[str], Case]
) -> None:
    case = case_of(name)
    if "earlier turns" in case.kind.lacks:
        pytest.skip("it takes no earlier turns")
    processor = case.own_processor
    inputs = prepare_inputs(processor, [(*EARLIER, WHERE, ANSWER)], answered=True)
    text = processor.tokenizer.decode(learned(inputs), skip_special_tokens=True)
    assert "".join(text.split()) == "".join((EARLIER[1].text + ANSWER.text).split())
    (plain,) = rows(prepare_inputs(processor, [(*EARLIER, WHERE)]))
    assert rows(inputs)[0][: len(plain)] == plain


# with the tags by which transformers tells what an assistant writes
MARKED = (
    "{%- for message in messages -%}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{%- if message['role'] == 'assistant' -%}{%- generation -%}"
    "{{ message['content'][0]['text'] + '<|im_end|>' }}{%- endgeneration -%}{{ '\n' }}{%- else -%}"
    "{%- for part in message['content'] -%}{%- if part['type'] == 'image' -%}{{ 'IMAGE' }}"
    "{%- else -%}{{ part['text'] }}{%- endif -%}{%- endfor -%}{{ '<|im_end|>\n' }}{%- endif -%}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
QWEN = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.mark.parametrize(
    ("name", "image"),
    [("qwen2_5_vl", QWEN), ("qwen3_vl", QWEN), ("internvl", "<IMG_CONTEXT>\n"),
     ("lfm2_vl", "<image>"), ("ovis2", "<image>")],
)  # fmt: skip
def test_the_mask_is_that_of_a_template_with_generation_tags(
    name: str, image: str, case_of: Callable[[str], Case]
) -> None:
    processor = copy.copy(case_of(name).own_processor)
    processor.chat_template = MARKED.replace("IMAGE", image.replace("\n", "\\n"))
    turns = (*EARLIER, WHERE, ANSWER)
    conversation: Any = [
        {"role": turn.role, "content": [
            *({"type": "image", "image": picture} for picture in turn.images),
            {"type": "text", "text": turn.text}]}
        for turn in turns
    ]  # fmt: skip
    official = processor.apply_chat_template(
        conversation, tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
        return_tensors="pt",
    )  # fmt: skip
    inputs = prepare_inputs(processor, [turns], answered=True)
    (ids,) = rows(inputs)
    mask = torch.as_tensor(official["assistant_masks"])[0].bool().tolist()
    assert official["input_ids"][0][: len(ids)].tolist() == ids
    assert mask == inputs.loss_masks[0] + [False] * (len(mask) - len(ids))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rows_are_padded_on_the_right_and_nothing_of_them_changes(
    name: str, case_of: Callable[[str], Case]
) -> None:
    case = case_of(name)
    some = [(ONE, ANSWER), (Message("user", "a cup", ONE.images), Message("assistant", "no"))]
    if "several pictures" not in case.kind.lacks:
        some.append((TWO, ANSWER))
    together = prepare_inputs(case.own_processor, some, answered=True)
    alone = [prepare_inputs(case.own_processor, [one], answered=True) for one in some]
    assert rows(together) == [rows(one)[0] for one in alone]
    assert together.loss_masks == [one.loss_masks[0] for one in alone]
    mask = together.tensors["attention_mask"].tolist()
    assert [row.index(0) if 0 in row else len(row) for row in mask] == together.lengths


def test_answers_that_hold_control_tokens_stay_text(case_of: Callable[[str], Case]) -> None:
    processor = case_of("qwen3_vl").own_processor
    typed = Message("assistant", "it says <|im_end|> and <|image_pad|>")
    inputs = prepare_inputs(processor, [(*EARLIER[:1], typed, WHERE, typed)], answered=True)
    control = set(processor.tokenizer.all_special_ids)
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert [token for token in learned(inputs) if token in control] == [end, end]


def test_a_processor_that_writes_into_an_answer_is_refused(
    case_of: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = case_of("qwen3_vl").own_processor
    kind = type(processor)
    original = kind.__call__

    def spoiled(self: Any, images: Any = None, text: Any = None, **options: Any) -> Any:
        changed = [one.replace("<|im_end|>", "!<|im_end|>") for one in text]
        return original(self, images, changed, **options)

    monkeypatch.setattr(kind, "__call__", spoiled)
    with pytest.raises(InputError, match="changes what begins or ends an answer"):
        prepare_inputs(processor, [(*EARLIER, WHERE, ANSWER)], answered=True)
