"""Compose a vision encoder, a projector and a language model into one LLaVA model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ViTImageProcessor,
)

from vqa.errors import InputError, error_line
from vqa.inputs.tiles import GRID_PINPOINTS, check_tiles, grid_pinpoints, pixel_size
from vqa.models.encoders import TimmVisionModel, encoder_spec
from vqa.models.model_files import load_pretrained
from vqa.models.submodules import submodules
from vqa.utils.config_sizes import check_config

IMAGE_TOKEN = "<image>"

# Put before a language model's own template: pictures become <image> lines before the text.
_PICTURES_FIRST = (
    "{%- set flat = namespace(messages=[]) -%}"
    "{%- for message in messages -%}"
    "{%- if message.content is string -%}{%- set text = message.content -%}"
    "{%- else -%}{%- set text = namespace(value='') -%}"
    "{%- for part in message.content if part.type == 'image' -%}"
    "{%- set text.value = text.value + '<image>\\n' -%}{%- endfor -%}"
    "{%- for part in message.content if part.type == 'text' -%}"
    "{%- set text.value = text.value + part.text -%}{%- endfor -%}"
    "{%- set text = text.value -%}{%- endif -%}"
    "{%- set flat.messages = flat.messages + [{'role': message.role, 'content': text}] -%}"
    "{%- endfor -%}"
    "{%- set messages = flat.messages -%}"
)


@dataclass(frozen=True)
class ModuleReport:
    """Kind and parameters of one module of a model."""

    name: str
    kind: str
    trainable: int  # parameters that are trained; 0 is frozen
    parameters: int


def count_module(name: str, kind: str, parameters: Iterable[nn.Parameter]) -> ModuleReport:
    """Count the parameters of a module, and those that are trained."""
    counts = [(p.numel(), p.requires_grad) for p in parameters]
    trainable = sum(count for count, learns in counts if learns)
    return ModuleReport(name, kind, trainable, sum(count for count, _ in counts))


@dataclass(frozen=True)
class ComposedModel:
    """A LLaVA model with its processor and a report of its modules."""

    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    report: tuple[ModuleReport, ...]


def compose(
    vision: str | Path,
    language: str | Path,
    *,
    chat_template: str | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    tiles: int = 1,
) -> ComposedModel:
    """Join the encoder `vision` and the language model `language` by a new random projector.

    Each is a directory, a hub id, `embedded`, or for vision `timm:NAME` or `timm:NAME:SIZE`.
    The encoder and the language model are frozen, the projector is trainable. Large pictures are
    cut into up to so many `tiles` (`vqa.inputs.tiles`). `save_pretrained` of
    model and processor gives a plain LLaVA directory; one with a timm encoder opens in transformers
    after `import vqa.models.encoders`. Raises InputError where the two cannot work together.
    """
    tower, image_processor = load_vision(str(vision))
    spec = encoder_spec(tower.config)
    text_model, tokenizer = _load_language(str(language), dtype)
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        # by default transformers forgets the special tokens that the tokenizer had before
        tokenizer.add_special_tokens(
            {"additional_special_tokens": [IMAGE_TOKEN]}, replace_extra_special_tokens=False
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if len(tokenizer) > text_model.get_input_embeddings().num_embeddings:
        _add_rows(text_model, len(tokenizer))
    template = chat_template or (
        _PICTURES_FIRST + tokenizer.chat_template if tokenizer.chat_template else None
    )
    if template is None:
        raise InputError(f"{language}: its tokenizer has no chat template; give one to compose")
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=text_model.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=spec.patches,
        vision_feature_layer=spec.feature_layer,
        vision_feature_select_strategy=spec.select,
        tie_word_embeddings=text_model.config.tie_word_embeddings,
    )
    model = _assemble(config, tower.to(dtype), text_model, seed)
    if tiles > 1:
        image_processor.image_grid_pinpoints = grid_pinpoints(tiles, pixel_size(image_processor))
    processor = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=spec.patch_size,
        vision_feature_select_strategy=spec.select,
        num_additional_image_tokens=spec.class_tokens,
        chat_template=template,
        image_token=IMAGE_TOKEN,
    )
    freeze(model, trainable=("multi_modal_projector",))
    check_image_tokens(model, processor)
    check_tiles(image_processor)
    return ComposedModel(model, processor, module_report(model))


@torch.no_grad()
def _add_rows(text_model: PreTrainedModel, tokens: int) -> None:
    """Grow the embeddings to `tokens` ids; new rows are the mean of all, so none is generated."""
    old = text_model.get_input_embeddings().num_embeddings
    # transformers would draw the new rows at random: two compositions must be the same
    text_model.resize_token_embeddings(tokens, pad_to_multiple_of=64, mean_resizing=False)
    for table in (text_model.get_input_embeddings(), text_model.get_output_embeddings()):
        table.weight[old:] = table.weight[:old].float().mean(0).to(table.weight.dtype)


def _assemble(
    config: LlavaConfig, tower: PreTrainedModel, text_model: PreTrainedModel, seed: int
) -> LlavaForConditionalGeneration:
    """Build it on the meta device, attach tower and language model, initialise the projector."""
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    model.model.vision_tower = tower
    model.model.language_model = text_model.model
    model.lm_head = text_model.get_output_embeddings()
    projector = model.model.multi_modal_projector.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for module in projector.modules():
        if isinstance(module, nn.Linear):
            # keeps the variance of features that are normalised per channel
            nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
            nn.init.zeros_(module.bias)
    # the output starts as large as the embeddings of words, which is what the model expects to read
    words = text_model.get_input_embeddings().weight
    with torch.no_grad():
        projector.linear_2.weight.mul_(words.float().std().item())
    projector.to(words.dtype)
    model.tie_weights()
    model.generation_config = text_model.generation_config
    return model.eval()


def freeze(model: nn.Module, trainable: tuple[str, ...] = ()) -> None:
    """Freeze all parameters but those of `trainable`, modules by their path or its end."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(f".{path}." in f".{name}" for path in trainable))


def module_report(model: nn.Module) -> tuple[ModuleReport, ...]:
    """Report kind and parameters of encoder, projector and language model."""
    parts = submodules(model)
    paths = [*filter(None, [parts.vision]), *parts.projector, parts.language]
    counted: set[int] = set()  # ids of parameters
    rows = [
        _report(path.rsplit(".", 1)[-1], model.get_submodule(path), counted)
        for path in sorted(paths, key=lambda path: -path.count("."))  # a part before its whole
    ]
    for path in parts.head:
        module = model.get_submodule(path)
        if any(id(p) not in counted for p in module.parameters()):  # not tied to the embeddings
            rows.append(_report(path.rsplit(".", 1)[-1], module, counted))
    return tuple(rows)


def _report(name: str, module: nn.Module, counted: set[int]) -> ModuleReport:
    # peft keeps a module as it was beside the one that it trains
    parameters = [
        parameter
        for path, parameter in module.named_parameters()
        if id(parameter) not in counted and "original_module" not in path.split(".")
    ]
    counted.update(id(parameter) for parameter in parameters)
    module = getattr(module, "original_module", module)
    config = getattr(module, "config", None)
    return count_module(name, getattr(config, "model_type", type(module).__name__), parameters)


@torch.no_grad()
def check_image_tokens(model: Any, processor: LlavaProcessor) -> int:
    """Return the number of image tokens N; InputError where encoder and processor disagree."""
    from PIL import Image

    from vqa.inputs.prompts import tokens_per_image

    picture = Image.new("RGB", (64, 64), "white")
    weight = next(model.model.multi_modal_projector.parameters())
    try:
        pixels = processor.image_processor(picture, return_tensors="pt")["pixel_values"]
        pixels = pixels.to(weight.device, weight.dtype)
        # all that answering does with a picture; [N, D]
        (features,) = model.get_image_features(pixels, return_dict=True).pooler_output
    except Exception as error:  # whatever settings of a stranger's lead to
        raise InputError(
            "the encoder cannot take the pictures that its image processor prepares: "
            f"{error_line(error)}"
        ) from error
    expected = tokens_per_image(processor)
    if features.shape[0] != expected:
        raise InputError(
            f"the encoder gives {features.shape[0]} patch features for a picture but the processor "
            f"counts {expected} image tokens: set patch_size, num_additional_image_tokens and "
            "vision_feature_select_strategy in processor_config.json"
        )
    return expected


def load_config(name: str) -> Any:
    """Load the config of a directory or hub id. Raises InputError for sizes that no model has."""
    if not Path(name).is_dir():  # a directory is checked in any case
        config, _ = load_pretrained(PreTrainedConfig.get_config_dict, name)
        check_config(config, name)
    return load_pretrained(AutoConfig.from_pretrained, name)


def load_vision(name: str) -> tuple[PreTrainedModel, Any]:
    """Load the encoder of that name, as `compose` takes it, and its image processor."""
    if name.startswith("timm:"):
        backbone, _, size = name.removeprefix("timm:").partition(":")
        if size and not size.isdecimal():
            raise InputError(f"{name}: give the size in pixels, as in timm:resnet50:224")
        tower: PreTrainedModel = TimmVisionModel.from_timm(
            backbone, int(size or 224), pretrained=True
        )
        return tower, square_processor(tower)
    if name == "embedded":
        from vqa.models.bundled.parts import part_directory

        name = str(part_directory("vision"))
    config = _config_of(name, "vision encoder")
    # a whole CLIP or SigLIP has a text half too: only its tower is loaded
    config = getattr(config, "vision_config", config)
    spec = encoder_spec(config)
    try:
        tower = load_pretrained(AutoModel.from_pretrained, name, config=config)
    except InputError as error:
        raise InputError(f"{name}: cannot load the vision encoder: {error}") from error
    if getattr(config, "model_type", "") == TimmVisionModel.config_class.model_type:
        return tower, square_processor(tower)
    try:
        image_processor = load_pretrained(AutoImageProcessor.from_pretrained, name)
    except InputError as error:
        raise InputError(
            f"{name}: no preprocessor_config.json beside the encoder ({spec.image_size} pixels)"
        ) from error
    vars(image_processor).pop(GRID_PINPOINTS, None)  # whether there are tiles, `compose` says
    return tower, image_processor


def square_processor(tower: PreTrainedModel) -> ViTImageProcessor:
    """Make a processor that squeezes whole pictures into the encoder's square: no crop."""
    config = tower.config
    return ViTImageProcessor(
        size={"height": config.image_size, "width": config.image_size},
        image_mean=config.image_mean,
        image_std=config.image_std,
    )


def _load_language(name: str, dtype: torch.dtype) -> tuple[PreTrainedModel, Any]:
    if name == "embedded":
        from vqa.models.bundled.parts import part_directory

        name = str(part_directory("language"))
    config = _config_of(name, "language model")
    if config.is_encoder_decoder or type(config) not in AutoModelForCausalLM._model_mapping:
        raise InputError(
            f"{name}: {config.model_type} writes no text; a causal language model is needed"
        )
    try:
        model = load_pretrained(AutoModelForCausalLM.from_pretrained, name, dtype=dtype)
    except InputError as error:
        raise InputError(f"{name}: cannot load the language model: {error}") from error
    # LLaVA has a bare output layer and its word embeddings in `model.embed_tokens`
    words = hasattr(getattr(model, "model", None), "embed_tokens")
    if not words or getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise InputError(
            f"{name}: LLaVA cannot hold a {config.model_type} model; use one built like Llama "
            "(Llama, Mistral, Qwen2, Qwen3, Gemma2, Phi3)"
        )
    try:
        return model, load_pretrained(AutoTokenizer.from_pretrained, name)
    except InputError as error:
        raise InputError(f"{name}: its tokenizer cannot be read: {error}") from error


def _config_of(name: str, what: str) -> Any:
    try:
        return load_config(name)
    except InputError as error:
        if Path(name).is_dir():
            raise InputError(f"{name}: no {what} here: {error}") from error
        raise InputError(
            f"{name}: no {what} here: neither a directory with a config.json nor a hub id in reach"
        ) from error
