"""Estimate the memory of weights, and refuse what does not fit before it is read."""

from __future__ import annotations

from typing import Any, Literal

import psutil
import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from vqa.errors import InputError, error_line
from vqa.models.submodules import sibling_modules, submodules

# Bytes of a weight of the language model's linear layers under bitsandbytes, scales included.
_QUANTIZED = {"4bit": 0.56, "8bit": 1.02}
# Parameters that a config may have more than the weights: loading names those that are missing.
_FILLED = 50_000_000


def check_memory(
    name: str,
    config: Any,
    dtype: torch.dtype,
    device: str,
    quantize: Literal["4bit", "8bit"] | None,
    stored: int | None = None,
) -> None:
    """Raise InputError where the weights of a model do not fit into the free memory of a CPU.

    Else the machine would swap for minutes, or end the program without a word. Devices with a
    memory of their own refuse by themselves. `stored`: parameters in the files of the weights,
    where they are here; a config that wants more of them would be filled up at random first.
    """
    model = model_on_meta(name, config)
    total = sum(parameter.numel() for parameter in model.parameters())
    packed = hasattr(config, "quantization_config")
    if stored is not None and total > stored + _FILLED and not packed:
        raise InputError(
            f"{name}: config.json describes {total:,} parameters, but the weights hold {stored:,}"
        )
    if device != "cpu" and (device != "auto" or torch.accelerator.is_available()):
        return
    free = psutil.virtual_memory().available
    sizes = {kind: weight_bytes(model, dtype, kind) for kind in (None, "8bit", "4bit")}
    if sizes[quantize] <= free:
        return
    smaller = [kind for kind in ("8bit", "4bit") if sizes[kind] <= free and kind != quantize]
    advice = "".join(f"`quantize` {kind} ({sizes[kind] / 1e9:.1f} GB), " for kind in smaller[:1])
    raise InputError(
        f"{name} takes about {sizes[quantize] / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are "
        f"free: choose {advice}a smaller model or another machine."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device, or the CPU, has no memory left."""
    # torch has no error of its own for a CPU and a Mac's accelerator
    words = ("DefaultCPUAllocator", "MPS backend out of memory")
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(word in str(error) for word in words)


def weight_bytes(model: Any, dtype: torch.dtype, quantize: str | None) -> int:
    """Estimate the bytes of a model's weights in `dtype`; the model may be on meta.

    With `quantize`, `4bit` or `8bit`, the linear layers of the language model are in that.
    """
    total = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    if quantize is None:
        return total
    language = model.get_submodule(submodules(model).language)
    layers = (m for m in language.modules() if isinstance(m, nn.Linear))
    linear = sum(layer.weight.numel() for layer in layers)
    return int(total + linear * (_QUANTIZED[quantize] - dtype.itemsize))


def unquantized_modules(model: Any) -> list[str]:
    """Name the modules beside a model's language model, which quantization leaves as they are."""
    return sibling_modules(model, submodules(model).language)


def model_on_meta(name: str, config: Any) -> Any:
    """Build the model of a config on the meta device. Raises InputError where it describes none."""
    try:
        with torch.device("meta"):
            return AutoModelForImageTextToText._model_mapping[type(config)](config)
    except Exception as error:  # a stranger's config may fail anywhere
        raise InputError(f"{name}: config.json describes no model: {error_line(error)}") from error
