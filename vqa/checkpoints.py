"""Load any LLaVA directory, hub id, adapter or run; save; the names of what was saved."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    BitsAndBytesConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from vqa import fingerprint
from vqa.devices import device_named
from vqa.dtypes import dtype_of
from vqa.encoders import encoder_spec  # its import registers the timm tower
from vqa.errors import InputError
from vqa.files import atomic_write
from vqa.fusion import is_fusion
from vqa.model import ModuleReport, check_image_tokens, module_report
from vqa.room import check_room

Quantize = Literal["4bit", "8bit"]
_RECORD = "vqa.json"
_SHIPPED = ("embedded", "embedded/base")
# files beside the weights that change answers; `config.json` is in the fingerprint of the weights
_SETTINGS = {
    "adapter_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
}


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer."""

    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    name: str
    sources: tuple[str, ...]  # directories or hub ids: the model's, and the adapter's
    report: tuple[ModuleReport, ...]
    quantize: Quantize | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the weights. Computed when asked for: large files take seconds to read."""
        return fingerprint.of_json([_identity(source) for source in self.sources])

    @cached_property
    def identity(self) -> str:
        """What answers depend on: the weights, their type, how they are quantized, and settings."""
        settings = [
            [file.name, fingerprint.of_file(file)]
            for source in self.sources
            for file in sorted(Path(source).glob("*"))
            if file.name in _SETTINGS
        ]
        return fingerprint.of_json(
            [self.fingerprint, str(self.model.dtype), self.quantize, settings]
        )


def load(
    name: str,
    *,
    adapter: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Quantize | None = None,
    merge: bool = True,
) -> Loaded:
    """Load `name`: `embedded`, a LLaVA directory, a hub id, or a directory with a peft adapter.

    `device` is `auto` (accelerate spreads the layers over what is there), `cpu`, `cuda`, `cuda:1`,
    `mps`. `dtype` `auto` is what suits the weights and the device (`dtype_of`). `quantize` leaves
    vision tower, projector and output head in `dtype`. An adapter is merged into the weights unless
    they are quantized or `merge` is off. Raises InputError with what to do.
    """
    if adapter is None and is_adapter(name):
        name, adapter = base_of(name), name
    device_named(device)  # said before anything is read
    if quantize not in (None, "4bit", "8bit"):
        raise InputError(f"--quantize {quantize}: choose 4bit or 8bit")
    source = resolve(name)
    config = _llava_config(source, name)
    torch_dtype = dtype_of(dtype, config, device)
    check_room(name, config, torch_dtype, device, quantize)
    model = _load_weights(source, name, config, torch_dtype, device, quantize)
    processor = _load_processor(source, name, config)
    if processor.image_token_id != config.image_token_id:
        raise InputError(
            f"{name}: the image token {processor.image_token} is {processor.image_token_id} to the "
            f"tokenizer, but {config.image_token_id} in config.json (image_token_index)"
        )
    sources: tuple[str, ...] = (source,)
    if adapter is not None:
        check_base(adapter, name, source)
        model = _apply_adapter(model, adapter, merge=merge and quantize is None)
        sources = (source, adapter)
    model.eval()
    check_image_tokens(model, processor)
    report = module_report(model)
    return Loaded(model, processor, adapter or name, sources, report, quantize)


def look(name: str) -> tuple[Any, LlavaProcessor]:
    """The config and the processor of what `load` would load, without its weights."""
    if is_adapter(name):
        name = base_of(name)
    source = resolve(name)
    config = _llava_config(source, name)
    return config, _load_processor(source, name, config)


def resolve(name: str) -> str:
    """The directory or hub id behind a name; `embedded` is fetched and made on first use."""
    if name in _SHIPPED:
        from vqa import embedded

        return str(embedded.model_directory() if name == "embedded" else embedded.base_directory())
    return name


def whole_name(name: str) -> str:
    """A name that holds from any directory: of a model's directory the whole path."""
    return str(Path(name).resolve()) if name not in _SHIPPED and Path(name).is_dir() else name


def is_adapter(name: str) -> bool:
    """Whether `name` is a directory with a peft adapter, as a fine-tuning run is."""
    return (Path(name) / "adapter_config.json").is_file()


def base_of(adapter: str) -> str:
    """The name of the model that `adapter` was trained on."""
    record = _read_json(Path(adapter) / "adapter_config.json")
    base = record.get("base_model_name_or_path")
    if not base:
        raise InputError(f"{adapter}: adapter_config.json names no base model; give --model BASE")
    return str(base)


def save(loaded: Loaded, directory: str | Path) -> None:
    """Write a plain LLaVA directory: safetensors, config and processor."""
    loaded.model.save_pretrained(directory)
    loaded.processor.save_pretrained(directory)


def record_base(adapter: str | Path, base: str) -> None:
    """Note beside an adapter which weights it was trained on; `load` refuses any other."""
    source = resolve(base)
    record = {"base": base, "base_fingerprint": _identity(source)}
    with atomic_write(Path(adapter) / _RECORD) as file:
        json.dump(record, file, indent=2)


def check_base(adapter: str, name: str, source: str) -> None:
    """Raise InputError unless `adapter` was trained on the model `name`, which lies in `source`."""
    path = Path(adapter) / _RECORD
    if not path.is_file():  # an adapter that others made: its names and shapes are checked
        return
    record = _read_json(path)
    wanted, found = record.get("base_fingerprint"), _identity(source)
    is_copy_of_hub = wanted == record.get("base") and Path(source).is_dir()
    if wanted != found and not is_copy_of_hub:  # of weights on a hub just the name was kept
        raise InputError(
            f"{adapter} was trained on {record.get('base')} ({wanted}), but {name} here is "
            f"{found}: load it on the base that it was trained on"
        )


def _identity(source: str) -> str:
    """Fingerprint of a directory's weights; a hub id stands for itself."""
    return fingerprint.of_directory(source) if Path(source).is_dir() else source


def _llava_config(source: str, name: str) -> Any:
    path = Path(source)
    if is_fusion(path):
        raise InputError(
            f"{name}: this is a fusion model, whose answers are a closed set, not LLaVA: "
            "`vqa ask`, predict, chat and app take it, and `vqa train fusion` makes another"
        )
    if path.exists() and not (path / "config.json").is_file():
        raise InputError(
            f"{name}: no model here (a LLaVA directory has config.json, a run has "
            "adapter_config.json)"
        )
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        if path.exists():
            raise InputError(f"{name}: config.json cannot be read: {_first_line(error)}") from error
        raise InputError(
            f"{name}: no such directory, and no hub could give a model of that name"
        ) from error
    if config.model_type != "llava":
        raise InputError(
            f"{name}: this is a {config.model_type} model, not LLaVA; a LLaVA directory is needed "
            "(compose one from an encoder and a language model with `vqa train pretrain`)"
        )
    return config


def _load_weights(
    source: str,
    name: str,
    config: Any,
    dtype: torch.dtype,
    device: str,
    quantize: Quantize | None,
) -> LlavaForConditionalGeneration:
    options: dict[str, Any] = {"config": config, "dtype": dtype, "use_safetensors": True}
    if quantize is not None:
        options["quantization_config"] = quantization(quantize, dtype)
    place = _device_map(device, quantize)
    if place is not None:
        options["device_map"] = place
    try:
        model, info = LlavaForConditionalGeneration.from_pretrained(
            source, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{name}: cannot load the weights: {_first_line(error)}") from error
    if info["missing_keys"]:  # transformers draws them at random and goes on
        raise InputError(
            f"{name}: {len(info['missing_keys'])} tensors are missing from the weights, among them "
            f"{min(info['missing_keys'])}"
        )
    return model


def _device_map(
    device: str, quantize: Quantize | None
) -> Literal["auto"] | dict[str, torch.device] | None:
    """Where the weights go: `auto` spreads them over several GPUs; None is the CPU."""
    found = device_named(device)
    if device == "auto" and (found.type == "cuda" or quantize is not None):
        return "auto"
    return None if device == "auto" and found.type == "cpu" else {"": found}


def quantization(quantize: Quantize, dtype: torch.dtype) -> BitsAndBytesConfig:
    """bitsandbytes for the language model alone; these module names are matched from the root."""
    kept = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]
    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=kept,
    )


def _load_processor(source: str, name: str, config: Any) -> LlavaProcessor:
    try:
        processor = LlavaProcessor.from_pretrained(source)
    except Exception as error:  # the tokenizers library raises bare ones
        raise InputError(
            f"{name}: the processor files are missing or broken (processor_config.json, "
            f"preprocessor_config.json, tokenizer.json): {_first_line(error)}"
        ) from error
    if processor.patch_size is None:  # directories from before 4.47 have no processor_config.json
        spec = encoder_spec(config.vision_config)
        processor.patch_size = spec.patch_size
        processor.num_additional_image_tokens = spec.class_tokens
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    return processor


def _apply_adapter(
    model: LlavaForConditionalGeneration, adapter: str, merge: bool
) -> LlavaForConditionalGeneration:
    if not is_adapter(adapter):
        raise InputError(f"{adapter}: no adapter here (adapter_config.json is missing)")
    adapted = add_adapter(model, adapter)
    if not merge:
        return unwrap(adapted)
    return merge_adapter(adapted)


def add_adapter(model: Any, adapter: str, is_trainable: bool = False) -> Any:
    """The peft model of `model` and the directory `adapter`. Raises InputError if it does not fit.

    peft itself only warns where it finds no weights for a layer, and leaves that as it was.
    """
    from peft import PeftModel

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, adapter, is_trainable=is_trainable)
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, SafetensorError) as error:
        raise InputError(f"{adapter}: the adapter does not fit: {_first_line(error)}") from error
    if any("missing adapter keys" in str(warning.message) for warning in said):
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
            place = layer.weight.device
            layer.to(torch.device("cpu") if place.type == "mps" else place, torch.float64)
            layer.merge()
            layer.to(place, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the layers are merged already
        # `unload` alone would put the untrained projector back
        merged: LlavaForConditionalGeneration = adapted.merge_and_unload()
    # parameters alone: the rotary embedding's buffers stay in float32 whatever the type
    for parameter in merged.parameters():
        parameter.data = parameter.data.to(dtype)
    return merged


def unwrap(adapted: Any) -> LlavaForConditionalGeneration:
    """The LLaVA model inside a peft model, its adapter layers in place."""
    return adapted.get_base_model()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {_first_line(error)}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is expected")
    return value


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
