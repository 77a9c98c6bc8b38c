"""How much memory a training takes, and how fast it is, without taking it.

The model is made of fake tensors, which have shapes and no memory, and one row of `row_tokens`
tokens runs through it: what autograd would keep of it for the backward pass is added up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    AutoModelForImageTextToText,
    BaseImageProcessor,
    LlavaForConditionalGeneration,
)

from training.common.features import cached_tower, seconds_a_picture
from training.common.memory import MemoryEstimate, activation_bytes, optimizer_bytes
from training.common.timing import timed
from training.sft.packing import set_attention, stack_rows
from training.sft.settings import SftSettings
from training.sft.trainer import token_losses
from vqa.models.encoders import encoder_spec, patch_features
from vqa.models.llava import module_report
from vqa.models.memory import weight_bytes

_LOSS_SHARE = 0.35  # of a row's tokens, where the data is not known; logits are made for these
_LOGITS = 3  # float32 copies of the logits at once: themselves, their logarithms, their gradient
_PICTURES = 4  # that are timed


def estimate(
    config: Any,
    settings: SftSettings,
    dtype: torch.dtype,
    set_up: Callable[[Any], Any],
    longest: int,
    forward: Callable[[Any, int, torch.dtype], None],
    *,
    quantize: str | None = None,
    process_bytes: int = 0,
) -> MemoryEstimate:
    """Estimate a run of `settings` on the model of `config`, with weights in `dtype`.

    `set_up` makes of the model what is trained, a peft model around it or itself with gradients
    set. `longest`: tokens of the longest row, which `forward` runs through the model, all but the
    logits. `process_bytes`: bytes that the process takes before.
    """
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(
            config, dtype=dtype, trust_remote_code=False
        )
        set_attention(model, settings.attention)
        weights = weight_bytes(model, dtype, quantize)
        own = {id(parameter) for parameter in model.parameters()}
        trained = set_up(model)
        modules = module_report(model)
    learns = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in learns)
    added = sum(parameter.numel() for parameter in learns if id(parameter) not in own)
    copies = 4 * (added if dtype == torch.float32 else count)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _make_fake(trained)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            activations = activation_bytes(trained, lambda: forward(model, longest, dtype))
    text = config.get_text_config()
    if settings.gradient_checkpointing:  # the layers' inputs, and one layer at a time
        layers = text.num_hidden_layers
        inputs = layers * longest * text.hidden_size * dtype.itemsize
        activations = activations // layers + inputs
    logit_rows = int(longest * _LOSS_SHARE)
    logits = _LOGITS * 4 * logit_rows * text.vocab_size
    learning = copies + optimizer_bytes(count)
    at_once = settings.rows_at_once * (activations + logits)
    return MemoryEstimate(weights, learning, at_once, process_bytes, modules)


def _make_fake(model: nn.Module) -> None:
    """Put fake tensors, which know their device, in the place of all weights and buffers."""
    for module in model.modules():
        for name, old in [*module._parameters.items()]:
            if old is not None:
                made = torch.empty(old.shape, dtype=old.dtype)
                module._parameters[name] = nn.Parameter(made, requires_grad=old.requires_grad)
        for name, buffer in [*module._buffers.items()]:
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def forward_plain_row(
    model: LlavaForConditionalGeneration, length: int, dtype: torch.dtype, pixels: bool
) -> None:
    """Run a plain row through projector and language model; `pixels`: the encoder runs too."""
    embed = model.get_input_embeddings()
    with nullcontext() if pixels else cached_tower(model):
        row = plain_row(model, length, dtype, pixels)
        # LLaVA's own forward pass looks at values, which fake tensors do not have
        features = model.model.multi_modal_projector(_tower(model, row["pixel_values"], pixels))
    words = embed(row["input_ids"])
    flat = features.reshape(1, -1, features.shape[-1]).to(words.dtype)
    model.model.language_model(
        inputs_embeds=torch.cat([flat, words[:, flat.shape[1] :]], dim=1),
        attention_mask=row["attention_mask"],
        position_ids=row["position_ids"],
        use_cache=False,
    )


def forward_text(model: Any, length: int, dtype: torch.dtype) -> None:
    """Run embeddings of `length` tokens through the language model of any architecture."""
    width = model.config.get_text_config().hidden_size
    words = torch.zeros(1, length, width, dtype=dtype, requires_grad=True)
    model.get_decoder()(inputs_embeds=words, use_cache=False)


def plain_row(
    llava: LlavaForConditionalGeneration, length: int, dtype: torch.dtype, pixels: bool
) -> dict[str, Tensor]:
    """Make a row of `length` tokens as training has them, a third of it pictures, all zeros."""
    spec = encoder_spec(llava.config.vision_config)
    length = max(length, spec.patches + 1)
    pictures = max(1, length // (3 * spec.patches))
    ids = torch.zeros(1, length, dtype=torch.long)
    ids[:, : pictures * spec.patches] = llava.config.image_token_index
    if pixels:
        shape: tuple[int, ...] = (pictures, 3, spec.image_size, spec.image_size)
    else:
        width = llava.model.multi_modal_projector.linear_1.in_features
        shape = (pictures, spec.patches, width)
    targets = int(length * _LOSS_SHARE)
    return {
        "input_ids": ids,
        "position_ids": torch.arange(length)[None],
        "attention_mask": torch.zeros(1, 1, length, length, dtype=dtype),
        "pixel_values": torch.zeros(shape, dtype=dtype),
        "predict_from": torch.arange(length - targets, length),
        "targets": torch.zeros(targets, dtype=torch.long),
        "weights": torch.ones(targets),
        "answers": torch.zeros(targets, dtype=torch.long),
    }


def _tower(model: LlavaForConditionalGeneration, values: Tensor, pixels: bool) -> Tensor:
    return patch_features(model, values) if pixels else values


@dataclass(frozen=True)
class Pace:
    """How long parts of a run take on this machine, from a few that were tried."""

    seconds_a_token: float  # of a packed row that is trained on
    seconds_a_picture: float  # whose features are computed


def measure_pace(
    trained: nn.Module,
    llava: LlavaForConditionalGeneration,
    image_processor: BaseImageProcessor,
    paths: Sequence[str],
    settings: SftSettings,
    pixels: bool,
) -> Pace:
    """Try some of the pictures `paths` and some steps."""
    frozen = paths and not pixels
    return Pace(
        _seconds_a_row(trained, llava, settings, pixels) / settings.row_tokens,
        seconds_a_picture(llava, image_processor, paths[:_PICTURES]) if frozen else 0.0,
    )


def _seconds_a_row(
    trained: nn.Module, llava: LlavaForConditionalGeneration, settings: SftSettings, pixels: bool
) -> float:
    device, dtype = llava.device, llava.dtype
    rows = settings.rows_at_once
    joined = stack_rows([plain_row(llava, settings.row_tokens, dtype, pixels)] * rows)
    batch = {name: value.to(device) for name, value in joined.items()}
    trained.train()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            losses, weights = token_losses(trained, batch, llava.lm_head)
        (losses * weights).sum().backward()
        trained.zero_grad()

    with nullcontext() if pixels else cached_tower(llava):
        return timed(step) / rows
