"""LoRA layers in the language model, new ones or those of an earlier run, as a peft model."""

from __future__ import annotations

import re
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from training.sft.settings import LoraSettings
from vqa.errors import InputError
from vqa.models.adapters import add_adapter
from vqa.models.submodules import submodules


def add_lora(model: Any, lora: LoraSettings, base: str, modules: list[str]) -> Any:
    """Make a peft model with LoRA on the language model and the `modules` trained as they are.

    Raises InputError as `lora_layers` does.
    """
    lora_layers(model, lora)
    adapted = get_peft_model(
        model, LoraConfig(target_modules=_pattern(model, lora), **_peft_options(lora, modules))
    )
    # peft would note the directory it was loaded from, which is another on each machine
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted


def _pattern(model: Any, lora: LoraSettings) -> str:
    """Make a pattern of the paths of the layers that get LoRA.

    Vision towers have layers of the same names (q_proj, ...), so it starts at the language model.
    """
    language = submodules(model).language
    return rf"{re.escape(language)}\..*\.({'|'.join(map(re.escape, lora.layers))})"


def lora_layers(model: Any, lora: LoraSettings) -> set[str]:
    """Collect the paths of the layers that get LoRA.

    Raises InputError where there are none, or where some are not linear.
    """
    pattern = _pattern(model, lora)
    layers = {name: each for name, each in model.named_modules() if re.fullmatch(pattern, name)}
    others = {name.rsplit(".", 1)[-1] for name, each in layers.items() if not _is_linear(each)}
    if layers and not others:
        return set(layers)
    why = f"{sorted(others)} are not linear" if others else "match nothing in the language model"
    raise InputError(f"lora.layers {list(lora.layers)}: {why}; it has {_linear_names(model)}")


def layers_without_lora(model: Any, lora: LoraSettings) -> list[str]:
    """Name the linear layers of the language model that get no LoRA, sorted."""
    return [name for name in _linear_names(model) if name not in lora.layers]


def _linear_names(model: Any) -> list[str]:
    language = model.get_submodule(submodules(model).language)
    paths = [path for path, each in language.named_modules() if _is_linear(each)]
    return sorted({path.rsplit(".", 1)[-1] for path in paths})


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)  # GPT-2's are called so


def _peft_options(lora: LoraSettings, modules: list[str]) -> dict[str, Any]:
    """Return the settings under peft's names."""
    return {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_dora": lora.kind == "dora",
        "use_rslora": lora.kind == "rslora",
        "modules_to_save": modules or None,
    }


def continue_adapter(
    model: nn.Module, adapter: str, lora: LoraSettings, base: str, modules: list[str]
) -> Any:
    """Make a peft model with the LoRA layers and modules of an earlier run, to be trained further.

    Raises InputError where other things were trained then.
    """
    layers = lora_layers(model, lora)
    adapted = add_adapter(model, adapter, is_trainable=True)
    config = adapted.peft_config["default"]
    for name, value in _peft_options(lora, modules).items():
        earlier = getattr(config, name)
        if name == "modules_to_save":  # in no order
            earlier, value = sorted(earlier or ()), sorted(value or ())
        if earlier != value:
            raise InputError(
                f"adapter={adapter} was trained with {name}={earlier}, not {value}: set lora and "
                "train as they were then"
            )
    if set(adapted.base_model.targeted_module_names) != layers:
        raise InputError(
            f"adapter={adapter} was trained with LoRA on {config.target_modules}, not on "
            f"lora.layers {list(lora.layers)}: set them as they were then"
        )
    config.base_model_name_or_path = base
    return adapted
