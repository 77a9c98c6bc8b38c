"""Examine this machine: what is installed, how much room there is, which ways to compute work."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from vqa.errors import InputError, error_line
from vqa.models.devices import device_named, fast_bfloat16
from vqa.tools.inventory import list_models
from vqa.utils.cache import cache_dir
from vqa.version import __version__

_PACKAGES = ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "pillow", "streamlit")
_EXTRAS = {
    "datasets": "hub",
    "ray": "ray",
    "rapidocr": "read",
    "usearch": "search",
    "fastapi": "serve",
    "av": "video",
}
_SIDE = 64  # of the matrices that are multiplied to try a way to compute


def examine(device: str = "auto") -> Mapping[str, Mapping[str, str]]:
    """Examine this machine; groups of facts, by their names.

    Raises InputError where this machine has no `device`.
    """
    chosen = device_named(device)
    return {
        "versions": {"vqa": __version__, "Python": platform.python_version(), **dict(_versions())},
        "devices": {**dict(_devices()), "chosen": str(chosen)},
        "memory and disk": dict(_room()),
        "models": {entry.name: f"{entry.kind}, {entry.state}" for entry in list_models(Path.cwd())},
        "works here": dict(_ways(chosen)),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        yield name, _version(name) or "missing: install vqa again"
    for name, extra in _EXTRAS.items():
        yield name, _version(name) or f"not installed: pip install 'vqa[{extra}]'"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[tuple[str, str]]:
    yield "cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch"
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield f"cuda:{index}", f"{name}, {_gigabytes(free)} of {_gigabytes(total)} free"
    if torch.backends.mps.is_available():
        yield "mps", "Apple's GPU, which shares the memory"


def _room() -> Iterator[tuple[str, str]]:
    memory = psutil.virtual_memory()
    yield "memory", f"{_gigabytes(memory.available)} of {_gigabytes(memory.total)} free"
    try:
        cache = cache_dir()
    except InputError as error:
        yield "cache", str(error)
        return
    there = next(path for path in (cache, *cache.parents) if path.exists())
    writable = there.is_dir() and os.access(there, os.W_OK)
    state = "can be written" if writable else "cannot be written: set VQA_CACHE"
    yield "cache", f"{cache}, {state}"
    yield "free disk of the cache", _gigabytes(shutil.disk_usage(there).free)


def _ways(device: torch.device) -> Iterator[tuple[str, str]]:
    """Compute a little in each way that may fail."""
    fast = device.type != "cpu" or fast_bfloat16()
    note = "" if fast else ", slowly: float32 is chosen where it fits"
    for dtype in (torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        yield name, _tried(partial(_product, dtype, device)) + note
    for bits in ("4bit", "8bit"):
        yield f"quantize {bits}", _tried(partial(_quantized, bits, device))
    if device.type != "cuda":
        yield "flash attention", "no: it needs a CUDA device"
    else:
        yield "flash attention", _tried(partial(_flash, device))
        package = importlib.util.find_spec("flash_attn") is not None
        yield "package flash_attn", "yes" if package else "no, and not needed"


def _tried(compute: Callable[[], torch.Tensor]) -> str:
    try:
        return "yes" if bool(compute().isfinite().all()) else "no: it gives NaN"
    except Exception as error:  # whatever a driver or a library makes of it
        return f"no: {error_line(error)}"


def _product(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.ones(_SIDE, _SIDE, dtype=dtype, device=device) @ torch.ones(
        _SIDE, _SIDE, dtype=dtype, device=device
    )


@torch.inference_mode()
def _quantized(bits: str, device: torch.device) -> torch.Tensor:
    from bitsandbytes import nn

    if bits == "4bit":
        layer = nn.Linear4bit(_SIDE, _SIDE, compute_dtype=torch.float32, quant_type="nf4")
    else:
        layer = nn.Linear8bitLt(_SIDE, _SIDE, has_fp16_weights=False)
    result: torch.Tensor = layer.to(device)(torch.ones(1, _SIDE, device=device))
    return result


def _flash(device: torch.device) -> torch.Tensor:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    heads = torch.ones(1, 2, _SIDE, _SIDE, dtype=torch.float16, device=device)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
