"""Does a model fit into memory: said before it is fetched and read, from its config alone."""

from __future__ import annotations

from typing import Any, Literal

import psutil
import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import LlavaForConditionalGeneration

from vqa.errors import InputError

# Bytes of a weight of the language model's linear layers, scales included.
_QUANTIZED = {"4bit": 0.56, "8bit": 1.02}


def check_room(
    name: str,
    config: Any,
    dtype: torch.dtype,
    device: str,
    quantize: Literal["4bit", "8bit"] | None,
) -> None:
    """Raise InputError where the weights of a LLaVA model do not fit into the free memory of a CPU.

    Else the machine would swap for minutes, or end the program without a word. Devices with a
    memory of their own refuse by themselves.
    """
    if device != "cpu" and (device != "auto" or torch.accelerator.is_available()):
        return
    free = psutil.virtual_memory().available
    if _bytes(config, dtype, quantize) <= free:
        return
    sizes = {kind: _bytes(config, dtype, kind) for kind in (None, "8bit", "4bit")}
    smaller = [kind for kind in ("8bit", "4bit") if sizes[kind] <= free and kind != quantize]
    advice = "".join(f"--quantize {kind} ({sizes[kind] / 1e9:.1f} GB), " for kind in smaller[:1])
    raise InputError(
        f"{name} takes about {sizes[quantize] / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are "
        f"free: choose {advice}a smaller model or another machine."
    )


def memory_is_full(error: BaseException) -> bool:
    """Whether an error says that a device, or the CPU, has no memory left."""
    # torch has no error of its own for a CPU and a Mac's accelerator
    words = ("DefaultCPUAllocator", "MPS backend out of memory")
    told = any(word in str(error) for word in words)
    return told or isinstance(error, torch.OutOfMemoryError | MemoryError)


def _bytes(config: Any, dtype: torch.dtype, quantize: str | None) -> float:
    with init_empty_weights():
        model = LlavaForConditionalGeneration(config)
    total = sum(parameter.numel() for parameter in model.parameters())
    if quantize is None:
        return total * dtype.itemsize
    linear = sum(
        layer.weight.numel()
        for layer in model.model.language_model.modules()
        if isinstance(layer, nn.Linear)
    )
    return (total - linear) * dtype.itemsize + linear * _QUANTIZED[quantize]
