"""Convert the files in the wheels to plain Hugging Face directories with safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from torch import Tensor, nn

from vqa.models.encoders import TimmVisionModel
from vqa.models.model_files import load_pretrained

# name -> timm's name, picture size in pixels, stages joined with the last map
_BACKBONES = {
    "lite0": ("tf_efficientnet_lite0", 224, ()),
    "lite2": ("tf_efficientnet_lite2", 256, (2, 3)),
}

# SmolLM2's own format without the system message that it puts before everything: 20 tokens in each
# prompt that say nothing about a picture
_CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


def convert_language_model(gguf: Path, directory: Path) -> None:
    """Dequantize the language model in `gguf` and save it with its tokenizer in `directory`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, name = str(gguf.parent), gguf.name
    model: Any = load_pretrained(
        AutoModelForCausalLM.from_pretrained,
        source,
        gguf_file=name,
        quantization_config=GgufConfig(gguf_file=name, dequantize=True),
        dtype=torch.bfloat16,
    )
    tokenizer: Any = load_pretrained(AutoTokenizer.from_pretrained, source, gguf_file=name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    # the GGUF says only that the splitting is SmolLM's: each digit alone, then as GPT-2
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    tokenizer.model_max_length = model.config.max_position_embeddings
    save_model(model, directory)
    tokenizer.save_pretrained(directory)
    make_config_portable(directory)


def convert_text_encoder(folder: Path, directory: Path) -> None:
    """Save the text encoder in `folder`, of the sentence-transformers layout, in `directory`."""
    from transformers import AutoModel, AutoTokenizer

    limits = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))
    tokenizer: Any = load_pretrained(AutoTokenizer.from_pretrained, folder)
    tokenizer.model_max_length = limits["max_seq_length"]
    save_model(load_pretrained(AutoModel.from_pretrained, folder, use_safetensors=True), directory)
    tokenizer.save_pretrained(directory)
    make_config_portable(directory)


def convert_vision_encoder(
    checkpoint: Path, name: str, statistics: Path | None, directory: Path
) -> None:
    """Wrap the EfficientNet-Lite weights in `checkpoint` and save the encoder in `directory`.

    `statistics` are the means and deviations of its joined features, measured on photos. The
    classifier's head, 1,000 directions in the space of the last map, goes beside the encoder.
    """
    backbone, image_size, stages = _BACKBONES[name]
    network: Any = timm.create_model(backbone)
    network.load_state_dict(_with_timm_names(torch.load(checkpoint, weights_only=True), network))
    model: Any = TimmVisionModel.from_timm(backbone, image_size, stages)
    head = {"weight": network.classifier.weight, "bias": network.classifier.bias}
    network.reset_classifier(0)
    model.backbone.load_state_dict(network.state_dict())
    if statistics is not None:
        model.load_state_dict(load_file(statistics), strict=False)
    save_model(model, directory)
    save_file({k: v.detach() for k, v in head.items()}, directory / "classifier.safetensors")
    make_config_portable(directory)


def save_model(model: Any, directory: Path) -> None:
    """Save `model` from this process, whichever of a run's several it is.

    transformers lets only the first of them write; but the one that holds a directory's lock makes
    what is missing for all, and processes on another machine have a cache of their own.
    """
    model.should_save_on_this_rank = lambda is_main_process: is_main_process
    model.save_pretrained(directory)


def make_config_portable(directory: Path) -> None:
    """Take out of config.json what differs from machine to machine: it is part of an identity."""
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for section in (config, config.get("vision_config", {}), config.get("text_config", {})):
        for key in ("_name_or_path", "_model_name_or_path", "transformers_version"):
            section.pop(key, None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _with_timm_names(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Put the tensors of `state` under timm's names: both list them in the order of computation."""
    names = network.state_dict()
    shapes = [tensor.shape for tensor in state.values()]
    if shapes != [tensor.shape for tensor in names.values()]:
        raise ValueError("the checkpoint's tensors are not those of timm's network")
    return dict(zip(names, state.values(), strict=True))
