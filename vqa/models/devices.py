"""The device and the dtype of a model: those that the user names, or the best for this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psutil
import torch

from vqa.errors import InputError
from vqa.models.memory import model_on_meta, weight_bytes

_NAMES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_HALF = (torch.float16, torch.bfloat16)
_SHARE_OF_MEMORY = 0.5  # that weights in float32 may take: caches and everything else need some


def device_named(name: str) -> torch.device:
    """Return the device of that name; `auto` is this machine's accelerator, or else the CPU.

    Raises InputError where this machine has no such device.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        torch.zeros(1, device=name).item()  # `meta` cannot tell
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"`device` {name}: not a device of this machine; auto takes what there is, cpu works "
            "everywhere"
        ) from error
    return torch.device(name)


def dtype_of(name: str, config: Any, device: str) -> torch.dtype:
    """Return the dtype `name` for the model of `config` on `device`.

    `auto` is float32 for weights that are stored in it, and bfloat16 for those stored in 16 bits.
    A CPU without instructions for bfloat16 multiplies it four to nine times slower than float32
    (laptops without AVX-512, Intel's before 2023): there it is float32 too, as long as that fits.
    """
    if name != "auto":
        return dtype_named(name)
    stored = config.dtype or config.get_text_config().dtype or torch.float32
    if stored not in _HALF or (_on_cpu(device) and not fast_bfloat16() and _fits(config)):
        return torch.float32
    return torch.bfloat16


def on_device_of(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Move inputs to a model's device, pixels in its type."""
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in inputs.items()
    }


def dtype_named(name: str) -> torch.dtype:
    """Return the dtype of that name. Raises InputError with all names."""
    if name not in _NAMES:
        raise InputError(f"`dtype` {name}: choose auto, {', '.join(_NAMES)}")
    return _NAMES[name]


def _on_cpu(device: str) -> bool:
    if device == "auto":
        return not torch.accelerator.is_available()
    return torch.device(device).type == "cpu"


def fast_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 itself.

    oneDNN says yes for every CPU with AVX-512, but those without its instructions for bfloat16
    convert each product's factors: a matrix of 1,536 x 576 took 4.6 times as long as in float32.
    """
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _fits(config: Any) -> bool:
    try:
        model = model_on_meta("", config)
    except InputError:  # to load it says how
        return True
    size = weight_bytes(model, torch.float32, None)
    return bool(size < _SHARE_OF_MEMORY * psutil.virtual_memory().available)
