"""How much memory a training will take, told before it starts and without taking it.

The model is made of fake tensors, which have shapes and no memory, and one row of `row_tokens`
tokens runs through it: what autograd would keep of it for the backward pass is added up.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForImageTextToText

from training.features import cached_tower
from training.settings import TrainSettings
from vqa.encoders import encoder_spec, patch_features
from vqa.model import ModuleReport, module_report

# bytes a weight under bitsandbytes: 4 bits and a scale for each 64 of them, or 8 bits and a scale
_QUANTIZED = {"4bit": 0.5 + 4 / 64, "8bit": 1.0 + 0.01}
_LEARNED_SHARE = 0.35  # of a row's tokens, where the data is not known; logits are made for these
_LOGITS = 3  # float32 copies of the logits at once: themselves, their logarithms, their gradient
_SHARE = 0.9  # of the free memory that may be planned with
_ADAM = 2  # moments, in float32


@dataclass(frozen=True)
class Estimate:
    """Bytes at the peak of a training step, in one process."""

    weights: int
    trained: int  # float32 copies, gradients and the optimizer's moments of what learns
    activations: int  # of one row, logits included
    program: int  # libraries, and what they need of their own
    modules: tuple[ModuleReport, ...]  # what learns and what is frozen

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.trained + self.activations + self.program

    def fits(self, free: int) -> bool:
        """Whether a device with so many free bytes is sure to be enough."""
        return self.total < _SHARE * free


def estimate(
    config: Any,
    settings: TrainSettings,
    dtype: torch.dtype,
    set_up: Callable[[Any], Any],
    longest: int,
    *,
    pixels: bool = False,
    quantize: str | None = None,
    program: int = 0,
) -> Estimate:
    """Estimate a run of `settings` on the LLaVA model of `config`, with weights in `dtype`.

    `set_up` makes of the model what is trained, a peft model around it or itself with gradients
    set. `longest`: tokens of the longest row. `pixels`: the encoder runs too. `program`: bytes that
    the process takes before.
    """
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=dtype)
        model.model.language_model.set_attn_implementation(settings.attention)
        weights = sum(parameter.nbytes for parameter in model.parameters())
        if quantize is not None:
            linear = _linear_weights(model.model.language_model)
            weights += int(linear * (_QUANTIZED[quantize] - dtype.itemsize))
        own = {id(parameter) for parameter in model.parameters()}
        trained = set_up(model)
        modules = module_report(model)
    learns = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in learns)
    added = sum(parameter.numel() for parameter in learns if id(parameter) not in own)
    copies = 4 * (added if dtype == torch.float32 else count)
    with FakeTensorMode(allow_non_fake_inputs=True), ExitStack() as stack:
        if not pixels:
            stack.enter_context(cached_tower(model))
        _make_fake(trained)
        activations = _kept_by_autograd(trained, model, longest, dtype, pixels)
    if settings.gradient_checkpointing:  # the layers' inputs, and one layer at a time
        layers = config.text_config.num_hidden_layers
        inputs = layers * longest * config.text_config.hidden_size * dtype.itemsize
        activations = activations // layers + inputs
    learned = int(longest * _LEARNED_SHARE)
    logits = _LOGITS * 4 * learned * config.text_config.vocab_size
    learning = copies + (1 + _ADAM) * 4 * count
    return Estimate(weights, learning, activations + logits, program, modules)


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


def _linear_weights(language_model: nn.Module) -> int:
    return sum(
        module.weight.numel()
        for module in language_model.modules()
        if isinstance(module, nn.Linear)
    )


def _kept_by_autograd(
    trained: Any, model: Any, longest: int, dtype: torch.dtype, pixels: bool
) -> int:
    """Bytes of what the backward pass of one row needs, weights aside; logits are not run."""
    row = plain_row(model, longest, dtype, pixels)
    embed = model.get_input_embeddings()

    def forward() -> None:
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

    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        return kept_by_autograd(trained, forward)


def kept_by_autograd(model: nn.Module, forward: Callable[[], object]) -> int:
    """Bytes of what the backward pass of `forward` needs, the weights of `model` aside."""
    known = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(kept.values())


def plain_row(llava: Any, length: int, dtype: torch.dtype, pixels: bool) -> dict[str, Tensor]:
    """A row of `length` tokens as training has them, a third of it pictures, its values zero."""
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
    learned = int(length * _LEARNED_SHARE)
    return {
        "input_ids": ids,
        "position_ids": torch.arange(length)[None],
        "attention_mask": torch.zeros(1, 1, length, length, dtype=dtype),
        "pixel_values": torch.zeros(shape, dtype=dtype),
        "predict_from": torch.arange(length - learned, length),
        "targets": torch.zeros(learned, dtype=torch.long),
        "weights": torch.ones(learned),
    }


def _tower(model: Any, values: Tensor, pixels: bool) -> Tensor:
    return patch_features(model, values) if pixels else values


def available(device: torch.device) -> int:
    """Bytes that a training may take on `device`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)


def own_memory() -> int:
    """Bytes of this process that are not pages of files, as they may be dropped at any time."""
    return int(psutil.Process().memory_full_info().uss)
