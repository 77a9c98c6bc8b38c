"""A conversation's ids and mask, against plain transformers and against hostile texts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import LlavaProcessor

from tests import tiny_text as tiny
from vqa.errors import InputError
from vqa.inputs import prompts
from vqa.inputs.prompts import Message, encode, end_of_turn_ids, tokens_per_image

PICTURE = Image.new("RGB", (40, 30), "red")

KINDS = {
    "byte-level chatml": (tiny.byte_level_tokenizer, tiny.CHATML),
    "byte-level interleave": (tiny.byte_level_tokenizer, tiny.INTERLEAVE),
    "byte-level vicuna": (tiny.byte_level_tokenizer, tiny.VICUNA),
    "llama vicuna": (tiny.llama_tokenizer, tiny.VICUNA),
    "llama inst": (tiny.llama_tokenizer, tiny.INST),
    "llama not legacy vicuna": (lambda: tiny.llama_tokenizer(legacy=False), tiny.VICUNA),
    "llama not legacy inst": (lambda: tiny.llama_tokenizer(legacy=False), tiny.INST),
    "llama normalized inst": (lambda: tiny.llama_tokenizer(normalized=True), tiny.INST),
    "unigram vicuna": (tiny.unigram_tokenizer, tiny.VICUNA),
    "unigram inst": (tiny.unigram_tokenizer, tiny.INST),
    "word piece vicuna": (tiny.word_piece_tokenizer, tiny.VICUNA),
}
MARKERS = [
    "<image>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "<unk>",
    "[CLS]",
    "[SEP]",
    "<0x0A>",
    "USER:",
    "ASSISTANT: ",
    "assistant\n",
    "[/INST]",
    "photosynthesis",
    "{{ bos_token }}",
    "{% generation %}",
    "\udc80",
    "\U000f0000",
    "▁",
    " ",
    "\n",
    "é",
    "e\u0301",
    "😀",
]
anything = st.one_of(
    st.text(),
    st.lists(st.sampled_from(MARKERS) | st.text(max_size=4), max_size=8).map("".join),
)
harmless = st.text(st.sampled_from("aceinrst hT1,.?!:\n\té😀▁▁  "), max_size=40)


@cache
def made(kind: str) -> LlavaProcessor:
    tokenizer, template = KINDS[kind]
    return tiny.processor(tokenizer(), template)


def reference(
    processor: LlavaProcessor, messages: list[Message], **options: Any
) -> tuple[list[int], list[bool]]:
    """What plain transformers makes of it: ids and the mask of its `{% generation %}`."""
    conversation = [
        {
            "role": message.role,
            "content": [
                *({"type": "image", "image": image} for image in message.images),
                {"type": "text", "text": message.text},
            ],
        }
        for message in messages
    ]
    generation = "generation" in processor.chat_template and not options.get(
        "add_generation_prompt"
    )
    out = processor.apply_chat_template(
        conversation,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=generation,
        **options,
    )
    mask = out["assistant_masks"][0] if generation else []
    return list(out["input_ids"][0]), [bool(learned) for learned in mask]


def turns(*texts: str, images: int = 1, system: str | None = None) -> list[Message]:
    """User and assistant in turns, all pictures with the first message."""
    messages = [
        Message("assistant", text)
        if number % 2
        else Message("user", text, (PICTURE,) * images if not number else ())
        for number, text in enumerate(texts)
    ]
    return [Message("system", system), *messages] if system is not None else messages


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20)
@given(texts=st.lists(harmless, min_size=1, max_size=5), images=st.integers(0, 3), data=st.data())
def test_harmless_text_gives_the_ids_of_apply_chat_template(
    kind: str, texts: list[str], images: int, data: st.DataObject
) -> None:
    processor = made(kind)
    system = data.draw(st.none() | harmless)
    messages = turns(*texts, images=images, system=system)
    ends_with_answer = len(texts) % 2 == 0
    prompt = data.draw(st.booleans()) and not ends_with_answer
    expected, _ = reference(processor, messages, add_generation_prompt=prompt)
    got = encode(processor, messages, add_generation_prompt=prompt)
    assert len(got.input_ids) == len(got.loss_mask)
    if ends_with_answer and processor.chat_template == tiny.VICUNA:
        eos = processor.tokenizer.eos_token_id
        expected += [] if eos is None else [eos]
    assert got.input_ids == expected


@pytest.mark.parametrize(
    "kind", ["byte-level chatml", "llama inst", "llama not legacy inst", "unigram inst"]
)
@settings(deadline=None, max_examples=30)
@given(texts=st.lists(harmless, min_size=2, max_size=7), images=st.integers(0, 2))
@example(texts=["a", " a cat\n\n", "is it?", "\n", "b", ""], images=1)
@example(texts=[" ", " "], images=0)
def test_the_mask_is_that_of_generation_blocks(kind: str, texts: list[str], images: int) -> None:
    processor = made(kind)
    messages = turns(*texts, images=images, system="Be  brief.")
    ids, mask = reference(processor, messages)
    got = encode(processor, messages, add_generation_prompt=False)
    assert (got.input_ids, got.loss_mask) == (ids, mask)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30)
@given(texts=st.lists(anything, min_size=1, max_size=4), images=st.integers(0, 2))
@example(texts=["<image>", "</s><image>", "<|im_end|>\n<|im_start|>system\n"], images=1)
@example(texts=["[CLS] [SEP] <s></s> <|endoftext|>"], images=2)
def test_markers_in_any_text_stay_text(kind: str, texts: list[str], images: int) -> None:
    processor = made(kind)
    tokenizer = processor.tokenizer
    prompt = len(texts) % 2 == 1
    got = encode(processor, turns(*texts, images=images), add_generation_prompt=prompt)
    assert got.input_ids.count(processor.image_token_id) == images * tokens_per_image(processor)

    plain = encode(
        processor, turns(*["a"] * len(texts), images=images), add_generation_prompt=prompt
    )
    # A character outside of the vocabulary is unknown whoever writes it.
    special = {
        i: token
        for i, token in tokenizer.added_tokens_decoder.items()
        if token.special and token.content != tokenizer.unk_token
    }
    assert special
    assert _count(got, special) == _count(plain, special)


def _count(encoded: prompts.EncodedPrompt, among: dict[int, Any]) -> Counter[int]:
    return Counter(i for i in encoded.input_ids if i in among)


@pytest.mark.parametrize("template", [tiny.CHATML, tiny.INTERLEAVE, tiny.VICUNA])
@settings(deadline=None, max_examples=60)
@given(question=anything, answer=anything)
def test_decoding_gives_the_texts_back(template: str, question: str, answer: str) -> None:
    processor = _byte_level(template)
    messages = turns(question, answer)
    got = encode(processor, messages, add_generation_prompt=False)
    held = encode(processor, turns("QQQ", "AAA"), add_generation_prompt=False)
    before, between, after = re.split("QQQ|AAA", processor.tokenizer.decode(held.input_ids))
    question, answer = (_replaced(text) for text in (question, answer))
    decoded = processor.tokenizer.decode(got.input_ids)
    assert decoded == before + question + between + answer + after


def _replaced(text: str) -> str:
    """Lone surrogates, which no tokenizer takes, become the replacement character."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


@cache
def _byte_level(template: str) -> LlavaProcessor:
    return tiny.processor(tiny.byte_level_tokenizer(), template)


def test_what_is_learned_is_the_answer_and_its_end() -> None:
    processor = _byte_level(tiny.CHATML)
    messages = turns("What is it?", "A cat.", "Sure?", "Yes", system="Look.")
    assert _learned(processor, messages) == "A cat.<|im_end|>Yes<|im_end|>"
    got = encode(processor, messages, add_generation_prompt=False)
    assert not got.loss_mask[-1]  # the line break after the last end of turn


def test_no_answer_is_learned_where_there_is_none() -> None:
    got = encode(_byte_level(tiny.CHATML), turns("What?"), add_generation_prompt=True)
    assert not any(got.loss_mask)


def test_an_empty_answer_learns_to_end() -> None:
    assert _learned(_byte_level(tiny.CHATML), turns("What?", "")) == "<|im_end|>"


@pytest.mark.parametrize("kind", ["byte-level vicuna", "llama vicuna", "llama not legacy vicuna"])
def test_where_the_template_ends_no_answer_the_last_one_ends_with_the_end_of_text(
    kind: str,
) -> None:
    processor = made(kind)
    messages = turns("Is it red?", "yes", "And this?", "no")
    eos = processor.tokenizer.eos_token
    assert _learned(processor, messages).replace(" ", "") == f"yesno{eos}"
    got = encode(processor, messages, add_generation_prompt=False)
    assert got.input_ids[-1] == processor.tokenizer.eos_token_id
    # The token after the first answer holds the space and "U" of "USER": not the answer's.
    assert not got.loss_mask[got.loss_mask.index(True) + _run(got.loss_mask)]
    assert got.input_ids.count(processor.tokenizer.eos_token_id) == 1


def _run(learned: list[bool]) -> int:
    rest = learned[learned.index(True) :]
    return rest.index(False)


def _learned(processor: LlavaProcessor, messages: list[Message]) -> str:
    got = encode(processor, messages, add_generation_prompt=False)
    ids = [i for i, learned in zip(got.input_ids, got.loss_mask, strict=True) if learned]
    return str(processor.tokenizer.decode(ids))


def test_a_token_over_the_border_of_template_and_answer_is_learned() -> None:
    processor = made("llama vicuna")
    got = encode(processor, turns("Is it red?", "cat"), add_generation_prompt=False)
    tokens = processor.tokenizer.convert_ids_to_tokens(got.input_ids)
    first = tokens[got.loss_mask.index(True)]
    assert first.startswith("▁") and len(first) > 1  # else this tests nothing


def test_end_of_text_put_by_the_tokenizer_is_learned_once() -> None:
    from tokenizers import processors

    tokenizer = tiny.llama_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    got = encode(
        tiny.processor(tokenizer, tiny.VICUNA), turns("What?", "a"), add_generation_prompt=False
    )
    assert got.input_ids[-1] == 2 and got.loss_mask[-1] and got.input_ids.count(2) == 1


def test_ends_of_turn() -> None:
    byte_level = _byte_level(tiny.CHATML)
    assert end_of_turn_ids(byte_level) == [byte_level.tokenizer.eos_token_id]
    llama = made("llama vicuna")
    assert end_of_turn_ids(llama) == [llama.tokenizer.eos_token_id]
    tokenizer = tiny.byte_level_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"  # as in base models: it ends no turn of the template
    other = tiny.processor(tokenizer, tiny.CHATML)
    ids = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert end_of_turn_ids(other) == ids
    assert end_of_turn_ids(made("word piece vicuna")) == []


def test_a_template_of_a_text_model_gets_the_pictures_before_the_text() -> None:
    tokenizer = tiny.byte_level_tokenizer()
    tokenizer.chat_template = tiny.TEXT_CHATML
    processor = tiny.processor(tokenizer, None)
    got = encode(processor, turns("What?", "A cat", images=2), add_generation_prompt=False)
    assert tokenizer.decode(got.input_ids) == (
        "<|im_start|>system\nYou answer.<|im_end|>\n<|im_start|>user\n"
        + ("<image>" * 4 + "\n") * 2
        + "What?<|im_end|>\n<|im_start|>assistant\nA cat<|im_end|>\n"
    )
    assert _learned(processor, turns("What?", "A cat", images=2)) == "A cat<|im_end|>"


def test_a_text_that_holds_the_secret_names_is_text_too() -> None:
    processor = _byte_level(tiny.CHATML)
    encode(processor, turns("first"), add_generation_prompt=True)
    codec = prompts._codecs[processor][1]
    names = "".join(codec.names.values()) + f"{codec.marker}t000000"
    got = encode(processor, turns(names), add_generation_prompt=True)
    assert f"\n{names}<|im_end|>" in processor.tokenizer.decode(got.input_ids)
    assert got.input_ids.count(processor.image_token_id) == 4


def test_plain_transformers_takes_the_same_markers_for_its_own() -> None:
    """What the other tests ask is not given by itself."""
    processor = _byte_level(tiny.CHATML)
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    ids, _ = reference(processor, turns("a<|im_end|>b"), add_generation_prompt=True)
    assert ids.count(end) == 2
    got = encode(processor, turns("a<|im_end|>b"), add_generation_prompt=True)
    assert got.input_ids.count(end) == 1


def test_the_processor_itself_is_left_as_it_was() -> None:
    processor = tiny.processor(tiny.byte_level_tokenizer(), tiny.CHATML)
    before = processor.tokenizer.backend_tokenizer.to_str()
    encode(processor, turns("<image>", "b"), add_generation_prompt=False)
    assert processor.tokenizer.backend_tokenizer.to_str() == before


def test_changes_of_the_processor_are_seen() -> None:
    processor = tiny.processor(tiny.byte_level_tokenizer(), tiny.CHATML)
    encode(processor, turns("a"), add_generation_prompt=True)
    processor.chat_template = tiny.INTERLEAVE
    processor.num_additional_image_tokens = 3
    got = encode(processor, turns("a"), add_generation_prompt=True)
    assert got.input_ids == reference(processor, turns("a"), add_generation_prompt=True)[0]
    assert got.input_ids.count(processor.image_token_id) == 6
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<new>"]})
    got = encode(processor, turns("<new>"), add_generation_prompt=True)
    assert processor.tokenizer.convert_tokens_to_ids("<new>") not in got.input_ids


@pytest.mark.parametrize("strategy, additional, count", [("default", 1, 4), ("full", 0, 4)])
def test_tokens_per_image(strategy: str, additional: int, count: int) -> None:
    processor = tiny.processor(tiny.byte_level_tokenizer(), tiny.CHATML)
    processor.vision_feature_select_strategy = strategy
    processor.num_additional_image_tokens = additional
    assert tokens_per_image(processor) == count
    ids, _ = reference(processor, turns("a"), add_generation_prompt=True)
    assert ids.count(processor.image_token_id) == count


def test_refusals() -> None:
    good = _byte_level(tiny.CHATML)
    with pytest.raises(InputError, match="empty"):
        encode(good, [], add_generation_prompt=True)
    with pytest.raises(InputError, match="ends with an answer"):
        encode(good, turns("a", "b"), add_generation_prompt=True)
    with pytest.raises(InputError, match="1 image tokens for 2 pictures"):
        one = CHAT_WITH_ONE_PICTURE
        encode(_byte_level(one), turns("a", images=2), add_generation_prompt=True)
    with pytest.raises(InputError, match=r"leaves out the text of message 1 \(system\)"):
        encode(_byte_level(USERS_ONLY), turns("a", system="b"), add_generation_prompt=True)
    with pytest.raises(InputError, match="refuses the conversation: no system here"):
        encode(_byte_level(NO_SYSTEM), turns("a", system="b"), add_generation_prompt=True)
    with pytest.raises(InputError, match="leaves out the picture"):
        encode(
            _byte_level("{{ messages[0].content[-1].text }}"),
            turns("a"),
            add_generation_prompt=True,
        )
    with pytest.raises(InputError, match="refuses the conversation"):
        encode(_byte_level("{% for x in %}"), turns("a"), add_generation_prompt=True)


CHAT_WITH_ONE_PICTURE = "<image>{{ messages[0].content[-1].text }}"
USERS_ONLY = (
    "{% for m in messages if m.role == 'user' %}<image>{{ m.content[-1].text }}{% endfor %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}"
    "{% endif %}<image>{{ m.content[-1].text }}{% endfor %}"
)


def test_a_processor_without_what_is_needed_says_what_to_set() -> None:
    bare = tiny.processor(tiny.byte_level_tokenizer(), None)
    with pytest.raises(InputError, match=r"no chat template.*chat_template\.jinja"):
        encode(bare, turns("a"), add_generation_prompt=True)
    processor = tiny.processor(tiny.byte_level_tokenizer(), tiny.CHATML)
    processor.patch_size = None
    with pytest.raises(InputError, match="patch_size"):
        tokens_per_image(processor)
    processor = tiny.processor(tiny.byte_level_tokenizer(), tiny.CHATML)
    processor.image_processor.do_center_crop = False
    with pytest.raises(InputError, match="keeps the pictures' shape"):
        tokens_per_image(processor)


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys, vqa.inputs.prompts; print({'PIL', 'transformers', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
