"""Add a peft adapter to a model, or merge it into the weights; peft's warnings are errors."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaForConditionalGeneration

from vqa.errors import InputError
from vqa.models.adapter_files import check_adapter
from vqa.models.model_files import load_pretrained


def add_adapter(model: Any, adapter: str, is_trainable: bool = False) -> Any:
    """Wrap `model` in the peft adapter of a directory. Raises InputError if it does not fit.

    peft itself only warns where a layer has no weights in it, and leaves that as it was.
    """
    from peft import PeftModel

    try:
        check_adapter(Path(adapter), [name for name, _ in model.named_modules()])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapted = load_pretrained(
                partial(PeftModel.from_pretrained, model), adapter, is_trainable=is_trainable
            )
    except InputError as error:
        raise InputError(f"{adapter}: the adapter does not fit: {error}") from error
    if any("missing adapter keys" in str(warning.message) for warning in caught):
        raise InputError(
            f"{adapter}: the adapter does not fit: it has no weights for layers that it names (it "
            "may be one for the language model alone, or for another model)"
        )
    return adapted


def merge_adapter(adapted: Any) -> LlavaForConditionalGeneration:
    """Merge a peft model's adapter, layer by layer in double precision, rounded once.

    So every machine gets the same bits, whatever order its float32 sums are in. (A Mac's
    accelerator has no double precision.)
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    dtype = adapted.get_base_model().dtype
    for layer in adapted.modules():
        if isinstance(layer, BaseTunerLayer):
            device = layer.weight.device
            layer.to(torch.device("cpu") if device.type == "mps" else device, torch.float64)
            layer.merge()
            layer.to(device, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the layers are merged already
        # `unload` alone would put the untrained projector back
        merged: LlavaForConditionalGeneration = adapted.merge_and_unload()
    # parameters alone: the rotary embedding's buffers stay in float32 whatever the type
    for parameter in merged.parameters():
        parameter.data = parameter.data.to(dtype)
    return merged


def unwrap(adapted: Any) -> LlavaForConditionalGeneration:
    """Return the LLaVA model inside a peft model, its adapter layers in place."""
    return adapted.get_base_model()
