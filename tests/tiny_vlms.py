"""Tiny vision-language models with random weights, each in its architecture's own layout."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from tests.vlm_architectures import ARCHITECTURES

# settings of configs that name a token; the first that the tokenizer has
_IMAGE = (
    "<|IMG_PATCH|>", "<IMG_ATOM>", "<|patch|>", "<image_soft_token>", "<|image_pad|>",
    "<IMG_CONTEXT>", "[IMG]", "<image>", "<|image|>",
)  # fmt: skip
_VIDEO = ("<|video_pad|>", "<|video|>", "<video>")
_CONFIG_TOKENS = {
    "image_token_id": _IMAGE,
    "image_token_index": _IMAGE,
    "video_token_id": _VIDEO,
    "video_token_index": _VIDEO,
    "vision_start_token_id": ("<|vision_start|>",),
    "vision_end_token_id": ("<|vision_end|>",),
    "image_start_token_id": ("<|begin_of_image|>",),
    "image_end_token_id": ("<|end_of_image|>",),
    "boi_token_index": ("<start_of_image>",),
    "eoi_token_index": ("<end_of_image>",),
}


def write(directory: Path, name: str) -> Path:
    """Write the tiny model of an architecture."""
    kind = ARCHITECTURES[name]
    tokenizer = kind.tokenizer(image=False)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [
            AddedToken(token, special=True, normalized=False) for token in kind.control
        ]},
        replace_extra_special_tokens=False,
    )  # fmt: skip
    if kind.named:
        special = dict(tokenizer.special_tokens_map) | {"extra_special_tokens": kind.named}
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **special)
    processor = kind.processor(tokenizer)
    tokens = {
        key: next((tokenizer.convert_tokens_to_ids(t) for t in given if t in kind.control), None)
        for key, given in _CONFIG_TOKENS.items()
    }
    indicators = [tokenizer.convert_tokens_to_ids(t) for t in kind.control if "<IMG_" in t][1:]
    if len(indicators) == 5:
        tokens["visual_indicator_token_ids"] = indicators
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vocabulary = {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = kind.text | ends | vocabulary
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        name,
        text_config=text,
        vision_config=kind.vision,
        **kind.others,
        **{key: value for key, value in tokens.items() if value is not None},
    )
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim == 2 and "embed" not in key:
                weight.mul_(kind.scale)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(directory)
    processor.chat_template = kind.template
    processor.save_pretrained(directory)
    return directory
