"""Tiny checkpoints with random weights, in the layouts that real ones have on the hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from tests.tiny_text import (
    INTERLEAVE,
    TEXT_CHATML,
    VICUNA,
    byte_level_tokenizer,
    llama_tokenizer,
)
from vqa.inputs.tiles import grid_pinpoints
from vqa.models.checkpoints import load
from vqa.models.encoders import TimmVisionModel

Names = Literal["old", "new"]
_MEAN, _STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def llava_1_5(directory: Path, names: Names = "old", shards: int = 2) -> Path:
    """Write CLIP and Llama in the layout of llava-hf/llava-1.5-7b-hf, with random weights."""
    tokenizer = llama_tokenizer(legacy=False)
    text = _text_config("llama", tokenizer) | {"architectures": ["LlamaForCausalLM"]}
    vision = _vision_config("clip_vision_model") | {"projection_dim": 16, "vocab_size": 99}
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "model_type": "llava",
        "pad_token_id": 0,
        "projector_hidden_act": "gelu",
        "text_config": text,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.36.0.dev0",
        "vision_config": vision,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "vocab_size": text["vocab_size"],
    }
    preprocessor = {
        "crop_size": {"height": 28, "width": 28},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": _MEAN,
        "image_processor_type": "CLIPImageProcessor",
        "image_std": _STD,
        "processor_class": "LlavaProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 28},
    }
    write_tokenizer(directory, tokenizer, "LlamaTokenizer", {"legacy": False})
    _write_json(directory / "chat_template.json", {"chat_template": VICUNA})
    _write_processor(directory, preprocessor, additional=1, select="default")
    _write_weights(directory, config, torch.float16, names, shards)
    return directory


def llava_interleave(directory: Path, names: Names = "old", shards: int = 1) -> Path:
    """Write SigLIP and Qwen2 in the layout of llava-hf/llava-interleave-qwen-0.5b-hf."""
    tokenizer = byte_level_tokenizer()
    text = _text_config("qwen2", tokenizer) | {
        "architectures": ["Qwen2ForCausalLM"],
        "max_window_layers": 2,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
    }
    vision = _vision_config("siglip_vision_model") | {"vision_use_head": False}
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "model_type": "llava",
        "projector_hidden_act": "gelu",
        "text_config": text,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.42.0.dev0",
        # 30 is no multiple of 14, as 384 of the real one is none
        "vision_config": vision | {"image_size": 30},
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    }
    preprocessor = {
        "do_convert_rgb": None,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "LlavaProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": 30, "width": 30},
    }
    write_tokenizer(directory, tokenizer, "Qwen2Tokenizer", {})
    _write_json(directory / "chat_template.json", {"chat_template": INTERLEAVE})
    _write_processor(directory, preprocessor, additional=0, select="full")
    _write_weights(directory, config, torch.bfloat16, names, shards)
    return directory


def _text_config(kind: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        # 4 bits on a CPU want inputs by 64 and outputs by 32
        "hidden_size": 64,
        "intermediate_size": 128,
        "max_position_embeddings": 4096,
        "model_type": kind,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05,
        # more rows than tokens, as real ones have
        "vocab_size": -(-len(tokenizer) // 64) * 64,
    }


def _vision_config(kind: str) -> dict[str, Any]:
    return {
        "hidden_size": 24,
        "image_size": 28,
        "intermediate_size": 48,
        "model_type": kind,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "patch_size": 14,
    }


def write_tokenizer(
    directory: Path, tokenizer: PreTrainedTokenizerFast, kind: str, extra: dict[str, Any]
) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json like the hub's."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    added = {
        str(i): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": token.single_word,
            "special": token.special,
        }
        for i, token in tokenizer.added_tokens_decoder.items()
    }
    special = dict(tokenizer.special_tokens_map)
    config = {"added_tokens_decoder": added, "tokenizer_class": kind, "padding_side": "left"}
    _write_json(directory / "tokenizer_config.json", config | special | extra)
    _write_json(directory / "special_tokens_map.json", special)


def _write_processor(
    directory: Path, preprocessor: dict[str, Any], additional: int, select: str
) -> None:
    _write_json(directory / "preprocessor_config.json", preprocessor)
    config = {
        "image_token": "<image>",
        "num_additional_image_tokens": additional,
        "patch_size": 14,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": select,
    }
    _write_json(directory / "processor_config.json", config)


def _write_weights(
    directory: Path, config: dict[str, Any], dtype: torch.dtype, names: Names, shards: int
) -> None:
    """Write config.json and the weights under the names that transformers used at the time.

    `old` is what the hub's files hold, `new` what transformers 4.52 and later wrote.
    """
    _write_json(directory / "config.json", config)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(AutoConfig.from_pretrained(directory)).to(dtype)
    tied = config["text_config"].get("tie_word_embeddings", False)
    weights = {
        _name(key, names): value.clone()
        for key, value in model.state_dict().items()
        if not (tied and key == "lm_head.weight")
    }
    _write_json(
        directory / "generation_config.json",
        {"eos_token_id": model.config.text_config.eos_token_id},
    )
    if shards == 1:
        save_file(weights, directory / "model.safetensors", {"format": "pt"})
        return
    index = {}
    for number in range(shards):
        part = dict(list(weights.items())[number::shards])
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        save_file(part, directory / file, {"format": "pt"})
        index |= dict.fromkeys(part, file)
    total = sum(value.nbytes for value in weights.values())
    _write_json(
        directory / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": index},
    )


def _name(key: str, names: Names) -> str:
    key = re.sub(
        r"^model\.vision_tower\.(vision_model\.)?", "model.vision_tower.vision_model.", key
    )
    if names == "new":
        return key
    if key.startswith("lm_head."):
        return f"language_model.{key}"
    key = key.removeprefix("model.")
    return re.sub(r"^language_model\.", "language_model.model.", key)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def vision(directory: Path, kind: str, **changes: Any) -> Path:
    """Write a tower of 28 pixels in patches of 14 with its image processor, as a hub directory."""
    image = {"height": 28, "width": 28}
    norm = {"image_mean": _MEAN, "image_std": _STD}
    torch.manual_seed(1)
    if kind in ("clip", "siglip"):  # whole models, text half included, as on the hub
        tower = AutoConfig.for_model(
            kind,
            vision_config=_vision_config(f"{kind}_vision_model") | changes,
            text_config=_text_config(f"{kind}_text_model", llama_tokenizer()),
            projection_dim=16,
        )
    else:
        tower = AutoConfig.for_model(**_vision_config(kind) | changes)
    AutoModel.from_config(tower).save_pretrained(directory)
    size = image if kind != "clip" else {"shortest_edge": 28}
    extra = {"crop_size": image} if kind in ("clip", "dinov2") else {}
    if kind == "dinov2":
        size = {"shortest_edge": 32}
    name = {"clip": "CLIP", "siglip": "Siglip", "dinov2": "Bit", "vit": "ViT"}.get(kind, "ViT")
    _write_json(
        directory / "preprocessor_config.json",
        {"image_processor_type": f"{name}ImageProcessor", "size": size, **extra, **norm}
        | {"do_resize": True, "do_normalize": True, "do_rescale": True, "resample": 3}
        | ({"do_center_crop": True} if extra else {}),
    )
    return directory


def timm_vision(directory: Path, backbone: str, size: int, stages: tuple[int, ...] = ()) -> Path:
    """Write a wrapped timm backbone with random weights."""
    torch.manual_seed(2)
    TimmVisionModel.from_timm(backbone, size, stages).save_pretrained(directory)
    return directory


def language(directory: Path, kind: str = "llama", **changes: Any) -> Path:
    """Write a causal language model and its tokenizer, which knows no `<image>` yet."""
    torch.manual_seed(3)
    tokenizer = byte_level_tokenizer(image=False)
    config = AutoConfig.for_model(**_text_config(kind, tokenizer) | changes)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    write_tokenizer(directory, tokenizer, "PreTrainedTokenizerFast", {"chat_template": TEXT_CHATML})
    return directory


def lora(base: Path, directory: Path) -> Path:
    """A random adapter on the queries of the LLaVA directory `base`."""
    pattern = r".*language_model.*\.q_proj"
    config = LoraConfig(r=2, target_modules=pattern, init_lora_weights=False)
    adapted = get_peft_model(load(str(base), dtype="float32").model, config)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(directory)
    return directory


def with_tiles(directory: Path, tiles: int = 4) -> Path:
    """Let the LLaVA model in `directory` cut large pictures into up to so many tiles."""
    path = directory / "preprocessor_config.json"
    if not path.exists():  # transformers 5 writes the image processor into the other's file
        path = directory / "processor_config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    settings = record.get("image_processor", record)
    side = settings["size"].get("height") or settings["size"]["shortest_edge"]
    settings["image_grid_pinpoints"] = grid_pinpoints(tiles, (side, side))
    _write_json(path, record)
    return directory
