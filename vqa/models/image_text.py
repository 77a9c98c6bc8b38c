"""Load any model of transformers that reads pictures and writes text, by its own classes.

LLaVA 1.5's kind is loaded by `vqa.models.checkpoints` for the own engine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig

from vqa.errors import InputError
from vqa.inputs.processor_inputs import check_processor
from vqa.models import checkpoints, runs
from vqa.models.checkpoints import LoadedModel
from vqa.models.devices import dtype_of
from vqa.models.memory import check_memory
from vqa.models.model_files import EMBEDDED_NAMES, FUSION, load_pretrained
from vqa.models.weights import Quantize, check_ends, check_options, load_weights, stored_parameters
from vqa.utils import sandbox
from vqa.utils.json_files import read_object

# of a model that was trained on single questions (PaliGemma), whose processor has no template
_PLAIN_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' or (message.role == 'user' and not loop.first) -%}"
    "{{ raise_exception('this model takes one question and its pictures, no system prompt and no "
    "earlier turns') }}{%- endif -%}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}{{ IMAGE }}{%- else -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}{%- endfor -%}"
)


def is_other_vlm(name: str) -> bool:
    """Return whether `name` is a vision-language model of another architecture than LLaVA 1.5.

    Its config is read at most.
    """
    if checkpoints.is_adapter(name):
        name = checkpoints.base_of(name)
    name = runs.starting_model(name)
    if name in EMBEDDED_NAMES:
        return False
    directory = Path(runs.resolve_weights(name))
    try:
        if (directory / "config.json").is_file():
            config = read_object(directory / "config.json")
        elif directory.exists():
            return False
        else:
            config, _ = load_pretrained(PreTrainedConfig.get_config_dict, name)
    except InputError:  # raised again by what loads it
        return False
    vision = config.get("vision_config")
    pixtral = isinstance(vision, dict) and vision.get("model_type") == "pixtral"
    return config.get("model_type") not in ("llava", FUSION) or pixtral


def load_any(
    name: str,
    *,
    adapter: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Quantize | None = None,
    merge: bool = True,
) -> LoadedModel:
    """Load a model of LLaVA's kind by `checkpoints.load`, any other by `load`."""
    loader = load if is_other_vlm(name) else checkpoints.load
    return loader(name, adapter=adapter, device=device, dtype=dtype, quantize=quantize, merge=merge)


def load_any_config_and_processor(name: str) -> tuple[Any, Any]:
    """Load the config and the processor of what `load_any` would load, without its weights."""
    if is_other_vlm(name):
        return load_config_and_processor(name)
    return checkpoints.load_config_and_processor(name)


def save_any(loaded: LoadedModel, directory: str | Path) -> None:
    """Write what `load_any` has loaded, so that it loads the same from there."""
    (checkpoints.save if loaded.is_llava else save)(loaded, directory)


def stored_type(name: str) -> str:
    """Return the type of the weights in the files of any model, or of an adapter's base."""
    config, _ = load_any_config_and_processor(name)
    stored = config.dtype or config.get_text_config().dtype or "float32"
    return str(stored).removeprefix("torch.")


def load(
    name: str,
    *,
    adapter: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Quantize | None = None,
    merge: bool = True,
) -> LoadedModel:
    """Load a directory, a hub id, or a peft adapter of such a model.

    The arguments are those of `vqa.models.checkpoints.load`; raises InputError as that does.
    """
    if adapter is None and checkpoints.is_adapter(name):
        name, adapter = checkpoints.base_of(name), name
    check_options(device, quantize)
    if runs.is_checkpoint_without_adapter(name):
        return checkpoints.load_trained(name, load, device, dtype, quantize)
    trial = checkpoints.try_tokenizer(name, name)
    config = _config(name)
    torch_dtype = dtype_of(dtype, config, device)
    stored = stored_parameters(name, Path(name), config)
    check_memory(name, config, torch_dtype, device, quantize, stored)
    processor = _load_processor(name, trial)  # before the weights: it takes a second
    model_class = AutoModelForImageTextToText._model_mapping[type(config)]
    model = load_weights(model_class, name, name, config, torch_dtype, device, quantize)
    sources: tuple[str, ...] = (name,)
    if adapter is not None:
        plain = merge and quantize is None
        model, adapter = checkpoints.apply_adapter(model, adapter, name, name, plain)
        sources = (name, adapter)
    check_ends(name, model.generation_config.eos_token_id)
    return LoadedModel(model.eval(), processor, adapter or name, sources, (), quantize)


def load_config_and_processor(name: str) -> tuple[Any, Any]:
    """Load the config and the processor of what `load` would load, without its weights."""
    if checkpoints.is_adapter(name):
        name = checkpoints.base_of(name)
    name = runs.starting_model(name)
    trial = checkpoints.try_tokenizer(name, name)
    return _config(name), _load_processor(name, trial)


def save(loaded: LoadedModel, directory: str | Path) -> None:
    """Write weights, config and processor as transformers lays them out."""
    loaded.model.save_pretrained(directory)
    loaded.processor.save_pretrained(directory)


def _config(name: str) -> Any:
    config = checkpoints.read_config(name, name)
    if type(config) not in AutoModelForImageTextToText._model_mapping:
        raise InputError(
            f"{name}: this is a {config.model_type} model, not LLaVA nor another that reads "
            "pictures and writes text: name one of those"
        )
    if config.is_encoder_decoder:
        raise InputError(
            f"{name}: a {config.model_type} model reads by an encoder and writes by a decoder, and "
            "does not continue a conversation: name one that does"
        )
    return config


def _load_processor(name: str, trial: sandbox.TokenizerCheck | None) -> Any:
    try:
        if trial is not None:
            trial.result()
        processor = load_pretrained(AutoProcessor.from_pretrained, name)
        check_processor(processor)
    except InputError as error:
        raise InputError(
            f"{name}: the processor files are missing, broken or of no use here "
            f"(processor_config.json, preprocessor_config.json, tokenizer.json): {error}"
        ) from error
    if not (processor.chat_template or processor.tokenizer.chat_template):
        image = json.dumps(processor.image_token)
        processor.chat_template = _PLAIN_TEMPLATE.replace("IMAGE", image)
    return processor
