"""Load any LLaVA directory, hub id, adapter or run, and save it; what an adapter's base is."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from vqa.errors import InputError, error_line
from vqa.inputs.tiles import check_tiles
from vqa.models import hub_layout, runs
from vqa.models.adapters import add_adapter, merge_adapter, unwrap
from vqa.models.devices import device_named, dtype_of
from vqa.models.encoders import encoder_spec  # its import registers the timm tower
from vqa.models.hub_layout import TensorNames
from vqa.models.llava import ModuleReport, check_image_tokens, compose, load_config, module_report
from vqa.models.memory import check_memory
from vqa.models.model_files import (
    EMBEDDED_NAMES,
    HINT_SETTINGS,
    is_dual_encoder,
    is_fusion,
    load_pretrained,
)  # fmt: skip
from vqa.models.name_classifier import (
    HintSettings,
    NameClassifier,
    find_name_classifier,
    open_name_classifier,
)
from vqa.models.weights import Quantize, check_ends, check_options, load_weights, stored_parameters
from vqa.utils import fingerprint, sandbox
from vqa.utils.files import atomic_write
from vqa.utils.json_files import read_object

_RECORD = "vqa.json"
_LONGEST_NAME = 1000  # characters, of a directory or hub id
# files beside the weights that change answers; `config.json` is in the fingerprint of the weights
_SETTINGS = {
    "adapter_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    HINT_SETTINGS,
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
}


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to answer: LLaVA, or of any other kind (`vqa.models.image_text`)."""

    model: Any  # LlavaForConditionalGeneration, or another that reads pictures and writes text
    processor: Any  # LlavaProcessor, or its
    name: str
    sources: tuple[str, ...]  # directories or hub ids: the model's, and the adapter's
    report: tuple[ModuleReport, ...]  # LLaVA's modules
    quantize: Quantize | None = None
    classifier: NameClassifier | None = None  # where the model was trained with its names

    @property
    def is_llava(self) -> bool:
        """Return whether the own engine runs it; Pixtral is a LLaVA too, but for its processor."""
        own = isinstance(self.model, LlavaForConditionalGeneration)
        return own and isinstance(self.processor, LlavaProcessor)

    @property
    def dtype(self) -> str:
        """The type of its weights, as "bfloat16"."""
        return str(self.model.dtype).removeprefix("torch.")

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the weights. Computed at first use: large files take seconds to read."""
        return fingerprint.of_json([_identity(source) for source in self.sources])

    @cached_property
    def identity(self) -> str:
        """Identity of what answers depend on: weights, dtype, quantization and settings."""
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
) -> LoadedModel:
    """Load `name`: `embedded`, a LLaVA directory, a hub id, or a directory with a peft adapter.

    `device` is `auto` (accelerate spreads the layers over what is there), `cpu`, `cuda`, `cuda:1`,
    `mps`. `dtype` `auto` is what suits the weights and the device (`dtype_of`). `quantize` leaves
    vision tower, projector and output head in `dtype`. An adapter is merged into the weights unless
    they are quantized or `merge` is off. Of a run that is not finished the last checkpoint is
    loaded, with a `runs.UnfinishedRun`. Raises InputError with what to do.
    """
    if adapter is None and is_adapter(name):
        name, adapter = base_of(name), name
    check_options(device, quantize)  # before anything is read
    if runs.is_checkpoint_without_adapter(name):
        return load_trained(name, load, device, dtype, quantize)
    source = resolve_source(name)
    trial = try_tokenizer(name, source)
    config = _llava_config(source, name)
    torch_dtype = dtype_of(dtype, config, device)
    stored = stored_parameters(name, Path(source), config)
    check_memory(name, config, torch_dtype, device, quantize, stored)
    model = load_weights(
        LlavaForConditionalGeneration, source, name, config, torch_dtype, device, quantize
    )
    processor = _load_processor(source, name, config, trial)
    if processor.image_token_id != config.image_token_id:
        raise InputError(
            f"{name}: the image token {processor.image_token} is {processor.image_token_id} to the "
            f"tokenizer, but {config.image_token_id} in config.json (image_token_index)"
        )
    sources: tuple[str, ...] = (source,)
    if adapter is not None:
        model, adapter = apply_adapter(model, adapter, name, source, merge and quantize is None)
        sources = (source, adapter)
    model.eval()
    try:
        check_image_tokens(model, processor)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    check_ends(name, model.generation_config.eos_token_id)
    classifier = find_name_classifier(sources, model.model.vision_tower)
    report = module_report(model)
    return LoadedModel(model, processor, adapter or name, sources, report, quantize, classifier)


def share(base: LoadedModel, adapter: str) -> LoadedModel:
    """Put an adapter on a model that is loaded, which stays as it is; both have the same tensors.

    The adapter's weights stay beside those of the base, as on quantized ones. Raises InputError for
    an adapter of another model.
    """
    (source,) = base.sources
    tensors = (*base.model.parameters(), *base.model.buffers())
    model = copy.deepcopy(base.model, {id(tensor): tensor for tensor in tensors})
    model, adapter = apply_adapter(model, adapter, base.name, source, merge=False)
    model.eval()
    report, classifier = base.report, None
    if base.report:  # LLaVA
        report = module_report(model)
        classifier = find_name_classifier((source, adapter), model.model.vision_tower)
    return LoadedModel(
        model, base.processor, adapter, (source, adapter), report, base.quantize, classifier
    )


def load_trained(
    name: str, load: Callable[..., LoadedModel], device: str, dtype: str, quantize: Quantize | None
) -> LoadedModel:
    """Load a checkpoint without an adapter: what the run began with, and what it has trained."""
    settings = (runs.record_of(runs.resolve_weights(name)) or {}).get("settings", {})
    if quantize is not None or settings.get("recipe") not in ("pretrain", "finetune"):
        what = f"`quantize` {quantize}" if quantize else "answering"
        raise InputError(f"{name}: {what} has to wait for the end of this run; train it on")
    sources: tuple[str, ...] = ()
    classifier = None
    if settings["recipe"] == "pretrain":
        names = ("vision", "language", "seed", "tiles")
        composed = compose(**{name: settings[name] for name in names if name in settings})
        model, processor = composed.model, composed.processor
        model.to(device_named(device), dtype_of(dtype, model.config, device))
    else:
        base = load(str(settings["model"]), device=device, dtype=dtype)
        model, processor, sources = base.model, base.processor, base.sources
        classifier = base.classifier
        if chosen := settings.get("hints"):
            hints = HintSettings(chosen["most"], chosen["least"], chosen["parts"])
            classifier = open_name_classifier(sources, model.model.vision_tower, hints)
    checkpoint = runs.resolve_and_warn(name)
    try:
        _, unknown = model.load_state_dict(load_file(Path(checkpoint) / runs.TRAINED), strict=False)
    except Exception as error:  # a stranger's file may fail anywhere
        raise InputError(f"{checkpoint}: cannot load the weights: {error_line(error)}") from error
    if unknown:
        raise InputError(f"{checkpoint}: its weights do not fit, among them {min(unknown)}")
    model.eval()
    report = module_report(model)
    return LoadedModel(
        model, processor, checkpoint, (*sources, checkpoint), report, classifier=classifier
    )


def load_config_and_processor(name: str) -> tuple[Any, LlavaProcessor]:
    """Load the config and the processor of what `load` would load, without its weights."""
    if is_adapter(name):
        name = base_of(name)
    name = runs.starting_model(name)
    source = resolve_source(name)
    trial = try_tokenizer(name, source)
    config = _llava_config(source, name)
    return config, _load_processor(source, name, config, trial)


def resolve_source(name: str) -> str:
    """Return the directory or hub id behind a name; `embedded` is made on first use."""
    if name in EMBEDDED_NAMES:
        from vqa.models.bundled import embedded

        return str(embedded.model_directory() if name == "embedded" else embedded.base_directory())
    return name


def absolute_name(name: str) -> str:
    """Return a name that holds in any working directory: of a directory its absolute path."""
    return str(Path(name).resolve()) if name not in EMBEDDED_NAMES and Path(name).is_dir() else name


def is_adapter(name: str) -> bool:
    """Return whether `name` is a directory with a peft adapter, as a fine-tuning run is."""
    return (Path(runs.resolve_weights(name)) / "adapter_config.json").is_file()


def base_of(adapter: str) -> str:
    """Return the name of the model that `adapter` was trained on."""
    record = read_object(Path(runs.resolve_weights(adapter)) / "adapter_config.json")
    base = record.get("base_model_name_or_path")
    if not base:
        raise InputError(f"{adapter}: adapter_config.json names no base model; give `model` BASE")
    if not isinstance(base, str) or not base.isprintable() or len(base) > _LONGEST_NAME:
        raise InputError(f"{adapter}: base_model_name_or_path in adapter_config.json is no name")
    return base


def save(loaded: LoadedModel, directory: str | Path, names: TensorNames = "hub") -> None:
    """Write a plain LLaVA directory: safetensors, config and processor."""
    hub_layout.save(loaded.model, loaded.processor, directory, names)
    if loaded.classifier is not None:
        loaded.classifier.save(Path(directory))


def record_base(adapter: str | Path, base: str, identity: str | None = None) -> None:
    """Note beside an adapter which weights, of what identity, it is for; `load` refuses others."""
    record = {"base": base, "base_fingerprint": identity or identity_of(base)}
    with atomic_write(Path(adapter) / _RECORD) as file:
        json.dump(record, file, indent=2)


def identity_of(name: str) -> str:
    """Return the fingerprint of the weights behind a name."""
    return _identity(resolve_source(name))


def check_base(adapter: str, name: str, source: str) -> None:
    """Raise InputError unless `adapter` was trained on the model `name`, which lies in `source`."""
    path = Path(adapter) / _RECORD
    if not path.is_file():  # an adapter that others made: its names and shapes are checked
        return
    record = read_object(path)
    recorded, identity = record.get("base_fingerprint"), _identity(source)
    is_copy_of_hub = recorded == record.get("base") and Path(source).is_dir()
    if recorded != identity and not is_copy_of_hub:  # of weights on a hub the name is recorded
        raise InputError(
            f"{adapter} was trained on {record.get('base')} ({recorded}), but {name} here is "
            f"{identity}: load it on the base that it was trained on"
        )


def _identity(source: str) -> str:
    """Fingerprint of a directory's weights; of a hub id the commit of its files in the cache."""
    if Path(source).is_dir():
        return fingerprint.of_directory(source)
    config = try_to_load_from_cache(source, "config.json")  # snapshots/COMMIT/config.json
    return f"{source}@{Path(config).parent.name}" if isinstance(config, str) else source


def read_config(source: str, name: str) -> Any:
    """Load the config of a directory or hub id. Raises InputError that says what is wrong there."""
    path = Path(source)
    if is_fusion(path):
        raise InputError(
            f"{name}: this is a fusion model, whose answers are a closed set, not LLaVA: "
            "`vqa ask`, predict, chat and app take it, and `vqa train fusion` makes another"
        )
    if is_dual_encoder(path):
        raise InputError(
            f"{name}: this is a shared space of pictures and texts, which writes no answers: `vqa "
            "classify`, search and score-caption take it"
        )
    if path.exists() and not (path / "config.json").is_file():
        raise InputError(
            f"{name}: no model here (a model's directory has config.json, a run has "
            "adapter_config.json)"
        )
    try:
        return load_config(source)
    except InputError as error:
        if path.exists() or not isinstance(error.__cause__, OSError):
            raise InputError(f"{name}: config.json cannot be read: {error}") from error
        raise InputError(
            f"{name}: no such directory, and no hub could give a model of that name"
        ) from error


def _llava_config(source: str, name: str) -> Any:
    config = read_config(source, name)
    if config.model_type != "llava":
        raise InputError(
            f"{name}: this is a {config.model_type} model, not LLaVA; a LLaVA directory is needed "
            "(compose one from an encoder and a language model with `vqa train pretrain`)"
        )
    return config


def try_tokenizer(name: str, source: str) -> sandbox.TokenizerCheck | None:
    """Begin to try out a tokenizer that did not come with this package."""
    if name in EMBEDDED_NAMES or not (Path(source) / "tokenizer.json").is_file():
        return None
    return sandbox.TokenizerCheck(Path(source) / "tokenizer.json")


def _load_processor(
    source: str, name: str, config: Any, trial: sandbox.TokenizerCheck | None
) -> LlavaProcessor:
    try:
        if trial is not None:
            trial.result()
        processor = load_pretrained(LlavaProcessor.from_pretrained, source)
    except InputError as error:
        raise InputError(
            f"{name}: the processor files are missing or broken (processor_config.json, "
            f"preprocessor_config.json, tokenizer.json): {error}"
        ) from error
    if processor.patch_size is None:  # directories from before 4.47 have no processor_config.json
        spec = encoder_spec(config.vision_config)
        processor.patch_size = spec.patch_size
        processor.num_additional_image_tokens = spec.class_tokens
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    try:
        check_tiles(processor.image_processor)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    return processor


def apply_adapter(model: Any, adapter: str, name: str, source: str, merge: bool) -> tuple[Any, str]:
    """Put an adapter on the model `name`, which lies in `source`; return its directory, too.

    Of a run that is not finished that is its last checkpoint. Raises InputError where it is none,
    or one of another model.
    """
    # not before the weights are there: a run in progress replaces its checkpoints
    adapter = runs.resolve_and_warn(adapter)
    check_base(adapter, name, source)
    if not is_adapter(adapter):
        raise InputError(f"{adapter}: no adapter here (adapter_config.json is missing)")
    adapted = add_adapter(model, adapter)
    if not merge:
        return unwrap(adapted), adapter
    try:
        return merge_adapter(adapted), adapter
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise InputError(f"{adapter}: the adapter cannot be merged: {error_line(error)}") from error
