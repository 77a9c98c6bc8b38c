"""Kinds of values that settings in a model's files have, held to before a library reads them.

A library takes them as they come and fails somewhere inside, without the setting's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vqa.errors import InputError, printable_line

_Kind = tuple[str, Callable[[Any], bool]]  # in words, and whether a value is of it


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list(value: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(of, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _or_null(kind: _Kind) -> _Kind:
    words, holds = kind
    return words, lambda value: value is None or holds(value)


_TEXT: _Kind = ("a text", _is_text)
_FLAG: _Kind = ("true or false", lambda value: isinstance(value, bool))
_NUMBER: _Kind = ("a number", _is_number)
_WHOLE: _Kind = ("a whole number", _is_whole)
_OBJECT: _Kind = ("an object", lambda value: isinstance(value, dict))
_TEXTS: _Kind = ("a list of texts", lambda value: _is_list(value, _is_text))
_NAMES: _Kind = ("a text or a list of texts", lambda value: _is_text(value) or _TEXTS[1](value))
_NUMBERS: _Kind = (
    "a number or a list of numbers",
    lambda value: _is_number(value) or _is_list(value, _is_number),
)
_TOKENS: _Kind = (
    "a whole number or a list of them",
    lambda value: _is_whole(value) or _is_list(value, _is_whole),
)
_TOKEN_LIST: _Kind = ("a list of whole numbers", lambda value: _is_list(value, _is_whole))
_NUMBER_OF_EACH: _Kind = (
    "an object of numbers",
    lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
)
_FLAG_OR_TEXT: _Kind = ("true, false or a text", lambda v: isinstance(v, bool | str))
_INDICES: _Kind = (
    "a whole number, a list of them, or a text",
    lambda v: _TOKENS[1](v) or _is_text(v),
)
_ADDED = ("content", "id", "lstrip", "normalized", "rstrip", "single_word", "special", "__type")
_ADDED_TOKENS: _Kind = (
    "an object of tokens by their numbers",
    lambda value: isinstance(value, dict)
    and all(
        key.isdecimal() and isinstance(token, dict) and _is_text(token.get("content"))
        and not set(token) - set(_ADDED)
        for key, token in value.items()
    ),
)  # fmt: skip
_TEMPLATE: _Kind = (
    "a text, or a list of objects with name and template",
    lambda value: (
        _is_text(value)
        or _is_list(value, lambda it: isinstance(it, dict) and {"name", "template"} <= set(it))
        or (isinstance(value, dict) and all(map(_is_text, value.values())))
    ),
)

_PICTURES: dict[str, _Kind] = {
    **dict.fromkeys(
        ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_pad"),
        _or_null(_FLAG),
    ),
    **dict.fromkeys(("image_mean", "image_std"), _or_null(_NUMBERS)),
    "rescale_factor": _or_null(_NUMBER),
    "image_processor_type": _or_null(_TEXT),
    "feature_extractor_type": _or_null(_TEXT),
    "processor_class": _or_null(_TEXT),
    "auto_map": _OBJECT,
}
_GENERATION: dict[str, _Kind] = {
    **dict.fromkeys(
        ("max_new_tokens", "min_new_tokens", "max_length", "min_length", "num_beams",
         "num_return_sequences", "no_repeat_ngram_size", "bos_token_id", "pad_token_id",
         "prompt_lookup_num_tokens", "num_beam_groups", "prefill_chunk_size"), _or_null(_WHOLE)),
    **dict.fromkeys(
        ("temperature", "top_p", "top_k", "repetition_penalty", "length_penalty", "guidance_scale",
         "typical_p", "epsilon_cutoff", "penalty_alpha", "max_time"), _or_null(_NUMBER)),
    **dict.fromkeys(("do_sample", "use_cache"), _or_null(_FLAG)),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), _or_null(_TOKEN_LIST)),
    **dict.fromkeys(("eos_token_id", "forced_eos_token_id"), _or_null(_TOKENS)),
    "early_stopping": _or_null(_FLAG_OR_TEXT),
    "watermarking_config": _or_null(_OBJECT),
}  # fmt: skip
_PARTS = ("text_config", "vision_config")  # of a config, as it is a config itself
_KINDS: Mapping[str, Mapping[str, _Kind]] = {
    "adapter_config.json": {
        "alpha_pattern": _NUMBER_OF_EACH,
        "bias": _TEXT,
        "init_lora_weights": _or_null(_FLAG_OR_TEXT),
        "layers_pattern": _or_null(_NAMES),
        "layers_to_transform": _or_null(_INDICES),
        "lora_alpha": _NUMBER,
        "lora_dropout": _NUMBER,
        "peft_type": _or_null(_TEXT),
        "task_type": _or_null(_TEXT),
        **dict.fromkeys(
            ("target_modules", "exclude_modules", "modules_to_save", "target_parameters"),
            _or_null(_NAMES),
        ),
        **dict.fromkeys(("arrow_config", "monteclora_config"), _or_null(_OBJECT)),
    },
    "config.json": {
        **dict.fromkeys(("model_type", "dtype", "torch_dtype"), _or_null(_TEXT)),
        "id2label": _or_null(_OBJECT),
        "layer_types": _or_null(_TEXTS),
        "pad_token_id": _or_null(_WHOLE),
        "quantization_config": _or_null(_OBJECT),
        "text_config": _or_null(_OBJECT),
        "vision_config": _or_null(_OBJECT),
    },
    "generation_config.json": _GENERATION,
    "preprocessor_config.json": _PICTURES,
    "processor_config.json": {
        "image_processor": _or_null(_OBJECT),
        "processor_class": _or_null(_TEXT),
    },
    "tokenizer_config.json": {
        "added_tokens_decoder": _ADDED_TOKENS,
        "auto_map": _or_null(_OBJECT),
        "chat_template": _or_null(_TEMPLATE),
        "model_input_names": _or_null(_TEXTS),
        "model_max_length": _or_null(_NUMBER),
        "split_special_tokens": _or_null(_FLAG),
        "tokenizer_class": _or_null(_TEXT),
    },
}


def check_kinds(settings: Mapping[str, Any], path: Path) -> None:
    """Raise InputError where a setting in the file `path` has a value of another kind."""
    for key, (words, holds) in _KINDS.get(path.name, {}).items():
        if key in settings and not holds(settings[key]):
            value = printable_line(repr(settings[key]), 60)
            raise InputError(f"{path}: {key} is {value}, and must be {words}")
    for key, value in settings.items():
        if key in _PARTS and isinstance(value, dict):
            check_kinds(value, path)
