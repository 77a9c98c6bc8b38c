"""Load the weights of any model, on the devices and in the types that were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from transformers import BitsAndBytesConfig

from vqa.errors import InputError
from vqa.models.devices import device_named
from vqa.models.memory import model_on_meta, unquantized_modules
from vqa.models.model_files import load_pretrained, weight_files
from vqa.utils.safetensors_files import check_types, stored_tensors

Quantize = Literal["4bit", "8bit"]


def check_options(device: str, quantize: str | None) -> None:
    """Raise InputError for a device that this machine has not, and for other bits than 4 and 8."""
    device_named(device)
    if quantize not in (None, "4bit", "8bit"):
        raise InputError(f"`quantize` {quantize}: choose 4bit or 8bit")


def load_weights(
    model_class: Any,
    source: str,
    name: str,
    config: Any,
    dtype: torch.dtype,
    device: str,
    quantize: Quantize | None,
) -> Any:
    """Load a model from the safetensors files in `source`, a directory or hub id.

    Raises InputError where they cannot be read, or where tensors are missing.
    """
    options: dict[str, Any] = {"config": config, "dtype": dtype, "use_safetensors": True}
    if quantize is not None:
        skipped = unquantized_modules(model_on_meta(name, config))
        options["quantization_config"] = quantization(quantize, dtype, skipped)
    device_map = _device_map(device, quantize)
    if device_map is not None:
        options["device_map"] = device_map
    try:
        model, info = load_pretrained(
            model_class.from_pretrained, source, output_loading_info=True, **options
        )
    except InputError as error:
        raise InputError(f"{name}: cannot load the weights: {error}") from error
    if info["missing_keys"]:  # transformers draws them at random and goes on
        raise InputError(
            f"{name}: {len(info['missing_keys'])} tensors are missing from the weights, among them "
            f"{min(info['missing_keys'])}"
        )
    return model


def quantization(quantize: Quantize, dtype: torch.dtype, skipped: list[str]) -> BitsAndBytesConfig:
    """Configure bitsandbytes for the language model alone; names are matched from the root."""
    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=skipped,
    )


def stored_parameters(name: str, directory: Path, config: Any) -> int | None:
    """Count the parameters in the files of a model's directory; None for a hub id."""
    if not directory.is_dir():
        return None
    try:
        files = [file for file in weight_files(directory) if file.name.startswith("model")]
        tensors = [tensor for file in files for tensor in stored_tensors(file)]
        parts = (config, config.get_text_config())
        if all(getattr(part, "quantization_config", None) is None for part in parts):
            check_types(tensors)
    except InputError as error:
        raise InputError(f"{name}: cannot load the weights: {error}") from error
    return sum(tensor.parameters for tensor in tensors)


def check_ends(name: str, ids: Any) -> None:
    """Raise InputError where the ids that end a text are no numbers."""
    for token in ids if isinstance(ids, list) else [ids]:
        if token is not None and not isinstance(token, int):
            raise InputError(
                f"{name}: eos_token_id in generation_config.json is {str(token)[:40]!r}, no number"
            )


def _device_map(
    device: str, quantize: Quantize | None
) -> Literal["auto"] | dict[str, torch.device] | None:
    """Map the weights to devices: `auto` spreads them over several GPUs; None is the CPU."""
    target = device_named(device)
    if device == "auto" and (target.type == "cuda" or quantize is not None):
        return "auto"
    return None if device == "auto" and target.type == "cpu" else {"": target}
