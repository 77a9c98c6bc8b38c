"""The type of a model's weights: the one that was asked for, or the best for the device."""

from __future__ import annotations

from typing import Any

import psutil
import torch
from accelerate import init_empty_weights
from transformers import LlavaForConditionalGeneration

from vqa.errors import InputError

_NAMES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_HALF = (torch.float16, torch.bfloat16)
_SHARE_OF_MEMORY = 0.5  # that weights in float32 may take: caches and everything else need some


def dtype_of(name: str, config: Any, device: str) -> torch.dtype:
    """The type named `name` for the LLaVA model of `config` on `device`.

    `auto` is float32 for weights that are stored in it, and bfloat16 for those stored in 16 bits.
    A CPU without instructions for bfloat16 multiplies it nine times slower than float32 (every
    laptop without AVX-512 is of this kind): there it is float32 too, as long as that fits.
    """
    if name != "auto":
        return named(name)
    stored = config.dtype or config.text_config.dtype or torch.float32
    if stored not in _HALF or (_on_cpu(device) and not _fast_bfloat16() and _fits(config)):
        return torch.float32
    return torch.bfloat16


def named(name: str) -> torch.dtype:
    """The type of that name. Raises InputError with those there are."""
    if name not in _NAMES:
        raise InputError(f"--dtype {name}: choose auto, {', '.join(_NAMES)}")
    return _NAMES[name]


def _on_cpu(device: str) -> bool:
    if device == "auto":
        return not torch.accelerator.is_available()
    return torch.device(device).type == "cpu"


def _fast_bfloat16() -> bool:
    """Whether oneDNN has products of bfloat16 for this CPU."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _fits(config: Any) -> bool:
    with init_empty_weights():
        model = LlavaForConditionalGeneration(config)
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    return bool(size < _SHARE_OF_MEMORY * psutil.virtual_memory().available)
