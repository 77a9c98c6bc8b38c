"""Packed rows give the loss of their questions one by one, and no question sees another."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from training.sft.packing import (
    EncodedExample,
    PrefixGroup,
    PrefixGroups,
    group_by_prefix,
    join_examples,
    pack,
    row_tensors,
    stack_rows,
)
from training.sft.tokens import prefix_key, shared_prefix
from training.sft.trainer import token_losses

IMAGE, PATCHES = 99, 4


def tiny_llava(attention: str) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            image_size=16, patch_size=8,
        ),
        text_config=LlamaConfig(
            vocab_size=100, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2,
        ),
        image_token_index=IMAGE,
    )  # fmt: skip
    config._attn_implementation = attention
    return LlavaForConditionalGeneration(config).eval()


def question(rng: random.Random, image: str | None) -> EncodedExample:
    prompt = [1, 2] + ([IMAGE] * PATCHES if image else [])
    text = [rng.randrange(3, 90) for _ in range(rng.randrange(2, 6))]
    answer = [rng.randrange(3, 90) for _ in range(rng.randrange(1, 4))]
    ids = prompt + text + answer
    learned = [False] * (len(prompt) + len(text)) + [True] * len(answer)
    return EncodedExample((image,) if image else (), ids, learned)


def grouped(
    examples: list[EncodedExample], max_tokens: int
) -> tuple[PrefixGroups, list[PrefixGroup]]:
    """The groups as numbers, and whole."""
    cuts = [shared_prefix(one, IMAGE) for one in examples]
    keys = [
        prefix_key(one, cut, row) for row, (one, cut) in enumerate(zip(examples, cuts, strict=True))
    ]
    groups = group_by_prefix(
        np.arange(len(examples)),
        np.array(keys, np.uint64),
        np.array(cuts, np.int32),
        np.array([len(one.input_ids) for one in examples], np.int64),
        max_tokens,
    )
    whole = [
        join_examples([examples[n] for n in groups[i]], cuts[groups[i][0]])
        for i in range(len(groups))
    ]
    assert [one.tokens for one in whole] == groups.tokens.tolist()
    return groups, whole


def packed(
    examples: list[EncodedExample], max_tokens: int, seed: int = 0
) -> list[list[PrefixGroup]]:
    groups, whole = grouped(examples, max_tokens)
    rows = pack(groups.tokens, max_tokens, seed)
    return [[whole[number] for number in rows[index]] for index in range(len(rows))]


def inputs_of(row, pictures) -> dict[str, torch.Tensor]:
    """The tensors of a row, its pictures among them."""
    batch = row_tensors(row)
    visible = batch["attention_mask"]
    nothing = torch.finfo(torch.float32).min
    batch["attention_mask"] = torch.zeros(visible.shape).masked_fill(~visible, nothing)
    if keys := [key for item in row for key in item.images]:
        batch["pixel_values"] = torch.stack([pictures[key] for key in keys])
    return batch


def row_losses(model, row, pictures) -> torch.Tensor:
    """Cross entropy of every learned token of a row, [K]."""
    with torch.no_grad():
        losses, _ = token_losses(model, inputs_of(row, pictures), model.lm_head)
    return losses


def single_losses(model, example, pictures) -> torch.Tensor:
    """The same from a plain forward pass over one question."""
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([example.input_ids]),
            pixel_values=torch.stack([pictures[key] for key in example.images])
            if example.images
            else None,
        ).logits[0]
    at = [i for i, learned in enumerate(example.loss_mask) if learned]
    targets = torch.tensor(example.input_ids)[at]
    return F.cross_entropy(logits[[i - 1 for i in at]], targets, reduction="none")


def placed(rng: random.Random, *parts: str | int) -> EncodedExample:
    """A question of parts: a picture's name, or so many tokens that are alike in all questions."""
    ids = [1, 2]
    for part in parts:
        ids += [IMAGE] * PATCHES if isinstance(part, str) else range(3, 3 + part)
    text = [rng.randrange(3, 90) for _ in range(rng.randrange(2, 6))]
    answer = [rng.randrange(3, 90) for _ in range(rng.randrange(1, 4))]
    learned = [False] * (len(ids) + len(text)) + [True] * len(answer)
    return EncodedExample(
        tuple(part for part in parts if isinstance(part, str)), [*ids, *text, *answer], learned
    )


@pytest.fixture
def examples() -> list[EncodedExample]:
    rng = random.Random(1)
    return [question(rng, image) for image in ("a", "b", "a", None, "c", "a", "b", None)]


@pytest.fixture
def pictures() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {key: torch.randn(3, 16, 16, generator=generator) for key in "abc"}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_packed_row_gives_the_losses_of_its_questions(attention, examples, pictures):
    model = tiny_llava(attention)
    (row,) = packed(examples, 200)
    losses = row_losses(model, row, pictures).sort().values
    single = torch.cat([single_losses(model, one, pictures) for one in examples]).sort().values
    torch.testing.assert_close(losses, single, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rows_in_one_pass_give_the_losses_of_each(attention, examples, pictures):
    model = tiny_llava(attention)
    rows = packed(examples, 40)
    assert len({sum(item.tokens for item in row) for row in rows}) > 1  # they are filled up
    assert any(not item.images for row in rows for item in row)
    batch = stack_rows([inputs_of(row, pictures) for row in rows])
    assert batch["input_ids"].shape[0] == batch["attention_mask"].shape[0] == len(rows) > 2
    with torch.no_grad():
        losses, weights = token_losses(model, batch, model.lm_head)
    alone = torch.cat([row_losses(model, row, pictures) for row in rows])
    torch.testing.assert_close(losses, alone, atol=1e-5, rtol=1e-5)
    assert len(weights) == len(losses)
    assert torch.unique(batch["answers"]).tolist() == list(range(len(examples)))


def test_pictures_in_the_text_share_it_up_to_the_last(pictures):
    rng = random.Random(2)
    rows = [
        placed(rng, 3, "a", 2, "b"),
        placed(rng, 3, "a", 2, "b"),  # shares all up to b
        placed(rng, 3, "a", 1, "b"),  # another text between the two
        placed(rng, 3, "b", 2, "a"),  # the same text, other pictures
        placed(rng, "a", "b", 2),  # both before the text
        placed(rng, 4, "a"),
        placed(rng, 4, "a"),
    ]
    groups, whole = grouped(rows, 500)
    members = sorted(groups[n].tolist() for n in range(len(groups)))
    assert members == [[0, 1], [2], [3], [4], [5, 6]]
    shared = next(one for one in whole if one.images == ("a", "b") and len(one.branches) == 2)
    assert shared.prefix == [1, 2, 3, 4, 5, *[IMAGE] * PATCHES, 3, 4, *[IMAGE] * PATCHES]
    model = tiny_llava("sdpa")
    (row,) = packed(rows, 500)
    order = [n for item in row for n in _members_of(item, rows)]
    expected = torch.cat([single_losses(model, rows[n], pictures) for n in order])
    torch.testing.assert_close(row_losses(model, row, pictures), expected, atol=1e-4, rtol=1e-4)


def _members_of(item: PrefixGroup, rows: list[EncodedExample]) -> list[int]:
    """The rows of a group, in the order of its branches."""
    whole = [(item.images, item.prefix + ids) for ids, _ in item.branches]
    return [next(n for n, row in enumerate(rows) if (row.images, row.input_ids) == one)
            for one in whole]  # fmt: skip


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_no_question_sees_another(attention, examples, pictures):
    model = tiny_llava(attention)
    before = row_losses(model, grouped(examples[:3], 200)[1], pictures)
    changed = [examples[0], examples[1], question(random.Random(9), "a")]
    after = row_losses(model, grouped(changed, 200)[1], pictures)
    first = sum(examples[0].loss_mask)
    second = sum(examples[1].loss_mask)
    torch.testing.assert_close(before[:first], after[:first])
    torch.testing.assert_close(before[-second:], after[-second:])


def test_questions_of_one_picture_share_its_image_tokens(examples):
    groups = grouped(examples, 200)[1]
    assert sorted(len(one.branches) for one in groups) == [1, 1, 1, 2, 3]
    ids = row_tensors(packed(examples, 200)[0])["input_ids"]
    assert int((ids == IMAGE).sum()) == 3 * PATCHES


def test_an_answer_of_n_tokens_weighs_as_much_as_the_root_of_n():
    answers = {1: 1.0, 4: 2.0, 9: 3.0}
    examples = [
        EncodedExample((str(n),), [1, IMAGE, 2] + [5] * n, [False] * 3 + [True] * n)
        for n in answers
    ]
    (row,) = packed(examples, 100)
    batch = row_tensors(row)
    assert batch["weights"].shape == batch["targets"].shape
    assert float(batch["weights"].sum()) == pytest.approx(sum(answers.values()))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), max_tokens=st.integers(20, 120))
def test_packing_loses_nothing_and_keeps_the_limit(seed, count, max_tokens):
    rng = random.Random(seed)
    examples = [question(rng, rng.choice(["a", "b", "c", None])) for _ in range(count)]
    rows = packed(examples, max_tokens, seed)
    assert all(sum(item.tokens for item in row) <= max_tokens for row in rows)
    learned = [token for row in rows for token in row_tensors(row)["targets"].tolist()]
    expected = [
        token
        for one in examples
        for token, is_learned in zip(one.input_ids, one.loss_mask, strict=True)
        if is_learned
    ]
    assert sorted(learned) == sorted(expected)


def test_the_order_hangs_on_the_seed_alone(examples):
    assert packed(examples, 40, seed=3) == packed(examples, 40, seed=3)
    assert packed(examples, 40, seed=3) != packed(examples, 40, seed=4)
