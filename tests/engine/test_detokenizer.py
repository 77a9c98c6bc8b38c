"""Pieces of streamed text are whole characters and add up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tests.tiny_text import byte_level_tokenizer, llama_tokenizer
from vqa.engine.detokenizer import IncrementalDetokenizer, decode_completion

KINDS = {"bytes": byte_level_tokenizer(), "llama": llama_tokenizer(legacy=False)}


def pieces(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> list[str]:
    stream = IncrementalDetokenizer(tokenizer)
    return [*(stream.add(token) for token in ids), stream.flush()]


@pytest.mark.parametrize("kind", KINDS)
def test_characters_come_whole(kind: str) -> None:
    tokenizer = KINDS[kind]
    text = "a cat 🐈, ein Käfer und 猫"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    got = pieces(tokenizer, ids)
    assert "".join(got) == text
    assert "" in got  # held back
    assert not any("�" in piece for piece in got)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_ids_add_up(kind: str, data: st.DataObject) -> None:
    tokenizer = KINDS[kind]
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=25))
    assert "".join(pieces(tokenizer, ids)) == decode_completion(tokenizer, ids)


def test_a_control_token_ends_no_run_of_bytes() -> None:
    tokenizer = KINDS["llama"]
    ids = tokenizer.convert_tokens_to_ids(["<0x00>", "<image>", "<0x80>"])
    assert "".join(pieces(tokenizer, ids)) == decode_completion(tokenizer, ids)


def test_space_around_and_half_a_character_are_left_out() -> None:
    tokenizer = KINDS["bytes"]
    encode: Callable[[str], list[int]] = lambda text: tokenizer(text)["input_ids"]  # noqa: E731
    assert decode_completion(tokenizer, encode(" \n a cat \n")) == "a cat"
    assert decode_completion(tokenizer, encode("a 🐈")[:-1]) == "a"
    assert decode_completion(tokenizer, []) == ""
