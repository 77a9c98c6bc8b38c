"""Composition: parts become one LLaVA model that transformers opens, or a reason why not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    OPTConfig,
    OPTForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from tests import tiny
from tests.tiny_text import INTERLEAVE, byte_level_tokenizer
from vqa.errors import InputError
from vqa.inputs.prompts import Message, encode, tokens_per_image
from vqa.models.llava import ComposedModel, check_image_tokens, compose, freeze, module_report

PICTURE = Image.new("RGB", (40, 30), (200, 30, 30))


def batch(composed: ComposedModel, question: str = "What is it?") -> dict[str, torch.Tensor]:
    messages = [Message("user", question, (PICTURE,)), Message("assistant", "a cat")]
    got = encode(composed.processor, messages, add_generation_prompt=False)
    ids = torch.tensor([got.input_ids])
    labels = torch.where(torch.tensor([got.loss_mask]), ids, -100)
    pixels = composed.processor.image_processor(PICTURE, return_tensors="pt")["pixel_values"]
    return {"input_ids": ids, "pixel_values": pixels, "labels": labels}


def logits_of(model: Any, given: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        logits = model.eval()(**given).logits
    assert isinstance(logits, torch.Tensor)
    return logits


def vision_directory(directory: Path, kind: str) -> Path:
    if kind.startswith("test_"):
        return tiny.timm_vision(directory, kind, 96)
    return tiny.vision(directory, kind)


@pytest.mark.parametrize(
    "vision, language",
    [
        ("clip", "llama"),
        ("siglip", "qwen2"),
        ("dinov2", "llama"),
        ("vit", "qwen3"),
        ("test_efficientnet", "llama"),
        ("test_vit", "gemma2"),
        ("clip", "phi3"),
    ],
)
def test_composed_trains_its_projector_and_opens_in_transformers(
    vision: str, language: str, tmp_path: Path
) -> None:
    extra = {"head_dim": 8} if language in ("qwen3", "gemma2") else {}
    composed = compose(
        vision_directory(tmp_path / "v", vision),
        tiny.language(tmp_path / "l", language, pad_token_id=0, **extra),
    )
    model = composed.model
    given = batch(composed)
    assert int((given["input_ids"] == model.config.image_token_id).sum()) == tokens_per_image(
        composed.processor
    )
    model.train()
    model(**given).loss.backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {
        f"model.multi_modal_projector.{layer}.{kind}"
        for layer in ("linear_1", "linear_2")
        for kind in ("weight", "bias")
    }

    model.save_pretrained(tmp_path / "out")
    composed.processor.save_pretrained(tmp_path / "out")
    opened = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out")
    processor = LlavaProcessor.from_pretrained(tmp_path / "out")
    again = batch(ComposedModel(opened, processor, ()))
    assert torch.equal(again["input_ids"], given["input_ids"])
    assert torch.equal(again["pixel_values"], given["pixel_values"])
    torch.testing.assert_close(logits_of(opened, again), logits_of(model, given))


def test_the_picture_counts(tmp_path: Path) -> None:
    composed = compose(tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l"))
    given = batch(composed)
    other = {**given, "pixel_values": given["pixel_values"].flip(1)}
    assert not torch.allclose(logits_of(composed.model, given), logits_of(composed.model, other))


def test_the_text_model_is_unchanged(tmp_path: Path) -> None:
    composed = compose(tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l"))
    text = AutoModelForCausalLM.from_pretrained(tmp_path / "l")
    ids = torch.arange(10, 40)[None]
    rows = text.config.vocab_size
    torch.testing.assert_close(
        logits_of(composed.model, {"input_ids": ids})[..., :rows],
        logits_of(text, {"input_ids": ids}),
    )


def test_the_report_names_every_module_and_counts_every_parameter(tmp_path: Path) -> None:
    composed = compose(tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l"))
    rows = {row.name: row for row in composed.report}
    assert list(rows) == ["vision_tower", "multi_modal_projector", "language_model", "lm_head"]
    assert sum(row.parameters for row in composed.report) == sum(
        p.numel() for p in composed.model.parameters()
    )
    assert [row.name for row in composed.report if row.trainable] == ["multi_modal_projector"]
    assert rows["vision_tower"].kind == "clip_vision_model"
    assert rows["language_model"].kind == "llama"
    freeze(composed.model, trainable=("language_model",))
    trainable = {row.name for row in module_report(composed.model) if row.trainable}
    assert trainable == {"language_model"}


def test_tied_heads_are_counted_once_and_stay_tied(tmp_path: Path) -> None:
    language = tiny.language(tmp_path / "l", tie_word_embeddings=True)
    composed = compose(tiny.vision(tmp_path / "v", "clip"), language)
    assert "lm_head" not in {row.name for row in composed.report}
    assert sum(row.parameters for row in composed.report) == sum(
        p.numel() for p in composed.model.parameters()
    )
    composed.model.save_pretrained(tmp_path / "out")
    opened = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out")
    assert opened.lm_head.weight is opened.model.language_model.embed_tokens.weight


def test_the_seed_draws_the_projector(tmp_path: Path) -> None:
    parts = tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l")

    def weights(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(torch.seed() % 1000)  # nothing else that is random counts
        return list(compose(*parts, seed=seed).model.state_dict().values())

    first, again, other = weights(0), weights(0), weights(1)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def test_image_features_start_as_large_as_words(tmp_path: Path) -> None:
    parts = tiny.timm_vision(tmp_path / "v", "test_vit", 96), tiny.language(tmp_path / "l")
    model = compose(*parts).model
    projector = model.model.multi_modal_projector
    normalised = torch.randn(64, model.config.vision_config.hidden_size)
    with torch.no_grad():
        ratio = projector(normalised).std() / model.get_input_embeddings().weight.std()
    assert 0.3 < ratio < 3


def test_new_tokens_start_as_the_mean_of_all(tmp_path: Path) -> None:
    language = tiny.language(tmp_path / "l")
    rows = json.loads((language / "config.json").read_text())["vocab_size"]
    config = json.loads((language / "config.json").read_text())
    tokens = len(byte_level_tokenizer(image=False))
    text = AutoModelForCausalLM.from_pretrained(language)
    text.resize_token_embeddings(tokens)  # no row is left for <image>
    text.save_pretrained(language)
    assert rows > tokens and config["vocab_size"] == rows
    model = compose(tiny.vision(tmp_path / "v", "clip"), language).model
    table = model.get_input_embeddings().weight
    assert len(table) > tokens and model.config.text_config.vocab_size == len(table)
    mean = text.get_input_embeddings().weight.mean(0)
    torch.testing.assert_close(table[tokens:], mean.expand(len(table) - tokens, -1))
    assert model.config.image_token_id == tokens


def test_markers_of_the_language_model_stay_special(tmp_path: Path) -> None:
    language = tiny.language(tmp_path / "l")
    path = language / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["additional_special_tokens"] = ["<|im_start|>"]
    path.write_text(json.dumps(config))
    tokenizer = compose(tiny.vision(tmp_path / "v", "clip"), language).processor.tokenizer
    ids = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<image>", "<|im_end|>"])
    assert set(ids) <= set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids, skip_special_tokens=True) == ""


def test_half_precision(tmp_path: Path) -> None:
    parts = tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l")
    composed = compose(*parts, dtype=torch.bfloat16)
    assert {p.dtype for p in composed.model.parameters()} == {torch.bfloat16}
    given = batch(composed)
    given["pixel_values"] = given["pixel_values"].bfloat16()
    assert logits_of(composed.model, given).isfinite().all()


@pytest.mark.parametrize("field, value", [("patch_size", 7), ("num_additional_image_tokens", 0)])
def test_a_wrong_count_of_image_tokens_is_refused(field: str, value: int, tmp_path: Path) -> None:
    composed = compose(tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l"))
    assert check_image_tokens(composed.model, composed.processor) == 4
    setattr(composed.processor, field, value)
    with pytest.raises(InputError, match=r"gives 4 patch features.*counts \d+ image tokens"):
        check_image_tokens(composed.model, composed.processor)


def other_language(directory: Path, model: PreTrainedModel) -> Path:
    tiny.language(directory)
    (directory / "model.safetensors").unlink()
    model.save_pretrained(directory)
    return directory


_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}


@pytest.mark.parametrize(
    "model, reason",
    [
        (
            lambda: T5ForConditionalGeneration(
                T5Config(vocab_size=400, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
            ),
            "writes no text",
        ),
        (lambda: BertForMaskedLM(BertConfig(**_SMALL, intermediate_size=64)), "bert"),
        (
            lambda: GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4)),
            "gpt2",
        ),
        (
            lambda: OPTForCausalLM(OPTConfig(**_SMALL, ffn_dim=64, word_embed_proj_dim=32)),
            "opt",
        ),
        # its output layer has a bias, which LLaVA's has not: it would be lost
        (lambda: PhiForCausalLM(PhiConfig(**_SMALL, intermediate_size=64)), "phi"),
    ],
    ids=["t5", "bert", "gpt2", "opt", "phi"],
)
def test_language_models_that_llava_cannot_hold_are_refused(
    model: Any, reason: str, tmp_path: Path
) -> None:
    vision = tiny.vision(tmp_path / "v", "clip")
    with pytest.raises(InputError, match=reason):
        compose(vision, other_language(tmp_path / "l", model()))


def _without(directory: Path, *files: str) -> Path:
    for file in files:
        (directory / file).unlink()
    return directory


def test_refusals(tmp_path: Path) -> None:
    vision, language = tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l")
    with pytest.raises(InputError, match="llama cannot feed LLaVA"):
        compose(language, language)
    with pytest.raises(InputError, match="clip writes no text"):
        compose(vision, vision)
    with pytest.raises(InputError, match="no vision encoder here"):
        compose(tmp_path / "nowhere", language)
    with pytest.raises(InputError, match="no language model here"):
        compose(vision, tmp_path / "nowhere")
    with pytest.raises(InputError, match="timm has no backbone named nope"):
        compose("timm:nope", language)
    with pytest.raises(InputError, match="timm:test_vit:big"):
        compose("timm:test_vit:big", language)
    bare = _without(tiny.vision(tmp_path / "bare", "vit"), "preprocessor_config.json")
    with pytest.raises(InputError, match=r"no preprocessor_config\.json"):
        compose(bare, language)
    files = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    with pytest.raises(InputError, match="tokenizer"):
        compose(vision, _without(tiny.language(tmp_path / "mute"), *files))
    with pytest.raises(InputError, match=r"28.*42"):  # the tower wants more than is prepared
        compose(tiny.vision(tmp_path / "large", "vit", image_size=42), language)


def test_without_a_template_one_has_to_be_given(tmp_path: Path) -> None:
    vision, language = tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l")
    path = language / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["chat_template"]
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="no chat template"):
        compose(vision, language)
    composed = compose(vision, language, chat_template=INTERLEAVE)
    assert composed.processor.chat_template == INTERLEAVE


def test_pictures_come_before_the_text_of_a_text_models_template(tmp_path: Path) -> None:
    composed = compose(tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l"))
    messages = [Message("user", "What?", (PICTURE, PICTURE))]
    got = encode(composed.processor, messages, add_generation_prompt=True)
    assert composed.processor.tokenizer.decode(got.input_ids) == (
        "<|im_start|>system\nYou answer.<|im_end|>\n<|im_start|>user\n"
        + ("<image>" * 4 + "\n") * 2
        + "What?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_transformers_opens_a_wrapped_tower_once_encoders_are_imported(tmp_path: Path) -> None:
    parts = tiny.timm_vision(tmp_path / "v", "test_vit", 96), tiny.language(tmp_path / "l")
    model = compose(*parts).model
    model.save_pretrained(tmp_path / "out")
    code = (
        "import sys, vqa.models.encoders\n"
        "from transformers import LlavaForConditionalGeneration as Llava\n"
        "print(Llava.from_pretrained(sys.argv[1]).num_parameters())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(model.num_parameters()), done.stderr[-500:]
