"""Write a LLaVA directory as those on the hub are: other engines and older transformers read it.

What transformers 5 writes by itself only transformers 5 reads whole: transformers 4 draws the tower
of a composed model at random, takes another `rope_theta`, and knows no `TokenizersBackend`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from transformers import LlavaForConditionalGeneration, LlavaProcessor

from vqa.utils.json_files import read_object

# how tensors are called: as in the files of llava-hf, or as transformers 4.52 to 4.57 wrote them
TensorNames = Literal["hub", "new"]
# whose tensors lie one level deeper in the files than in transformers 5
_WRAPPED = ("clip_vision_model", "siglip_vision_model")
_TEXT, _TOWER = "model.language_model.", "model.vision_tower."


def save(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    directory: str | Path,
    names: TensorNames = "hub",
) -> None:
    """Write weights, config, generation config, tokenizer, image processor and chat template."""
    directory = Path(directory)
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = tied
    state = {
        stored_name(name, model.config, names): value
        for name, value in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    model.save_pretrained(directory, state_dict=state, save_original_format=False)
    processor.save_pretrained(directory)
    _rewrite(directory / "config.json", _with_older_keys)
    _rewrite(directory / "tokenizer_config.json", _with_older_tokenizer)
    # newer versions put it into processor_config.json, where older ones and vLLM do not look
    processor.image_processor.save_pretrained(directory)
    _rewrite(directory / "processor_config.json", lambda c: {**c, "image_processor": None})


def stored_name(name: str, config: Any, names: TensorNames) -> str:
    """Return the name in the files of a tensor that transformers 5 calls `name`."""
    if name.startswith(_TOWER) and config.vision_config.model_type in _WRAPPED:
        name = f"{_TOWER}vision_model.{name.removeprefix(_TOWER)}"
    if names == "new":
        return name
    if name.startswith(_TEXT):
        return f"language_model.model.{name.removeprefix(_TEXT)}"
    return f"language_model.{name}" if name.startswith("lm_head.") else name.removeprefix("model.")


def _with_older_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Add to config.json what transformers 4 reads in place of `dtype` and `rope_parameters`."""
    text = config["text_config"]
    for part in (config, text, config["vision_config"]):
        part["torch_dtype"] = part.get("dtype")
        part.pop("_name_or_path", None)  # where it lay on this machine
    rope = text.get("rope_parameters") or {}
    if "rope_theta" in rope:  # else there are several, one a kind of layer
        text["rope_theta"] = rope["rope_theta"]
        scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
        text["rope_scaling"] = scaling if scaling.get("rope_type") != "default" else None
    return config


def _with_older_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """Name the class that takes tokenizer.json as it is in any version, and its older keys."""
    if config.get("backend") == "tokenizers":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["additional_special_tokens"] = config.pop("extra_special_tokens", None)
    return config | dict.fromkeys(("backend", "is_local", "local_files_only"))


def _rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    changed = change(read_object(path))
    _write(path, {key: value for key, value in changed.items() if value is not None})


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
