"""Sizes in a model's config, held to what models have before a library builds anything of them.

A config that says 10,000,000 layers takes all memory when it is merely read: transformers makes
a list of them.
"""

from __future__ import annotations

from typing import Any

from vqa.errors import InputError

LARGEST_SIDE = 2048  # pixels of a prepared picture
_MOST_PATCHES = 1 << 14  # of a picture

_WIDTH, _WIDE, _LAYERS, _HEADS = (1, 1 << 17), (1, 1 << 20), (1, 512), (1, 1 << 12)
_POSITIONS, _TOKENS, _SIDE = (1, 1 << 28), (1, 1 << 24), (1, LARGEST_SIDE)
# key -> least and most; the largest models that are known have less than half of each
_SIZES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "embed_dim", "embedding_size", "projection_dim",
         "word_embed_proj_dim", "vision_size", "word_size"), _WIDTH),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "n_inner",
         "moe_intermediate_size", "shared_expert_intermediate_size"), _WIDE),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers",
         "decoder_layers", "depth", "text_layers", "fusion_layers"), _LAYERS),
    **dict.fromkeys(
        ("num_attention_heads", "num_key_value_heads", "n_head", "num_heads", "heads",
         "encoder_attention_heads", "decoder_attention_heads"), _HEADS),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), (1, 1 << 12)),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "n_ctx", "max_window_layers", "sliding_window",
         "question_tokens"), _POSITIONS),
    **dict.fromkeys(("vocab_size", "answers"), _TOKENS),
    **dict.fromkeys(("image_size", "patch_size", "grid"), _SIDE),
    "head_dim": (1, 1 << 14),
    "num_channels": (1, 1 << 8),
    "num_labels": (0, 1 << 17),  # each gets a name
    "type_vocab_size": (0, 1 << 16),
    "image_seq_length": (0, _MOST_PATCHES),
    "num_additional_image_tokens": (0, 1 << 10),
}  # fmt: skip
_MAY_BE_ZERO = {"fusion_layers", "text_layers", "max_window_layers", "num_experts",
                "n_routed_experts", "num_local_experts"}  # fmt: skip
_PIXELS = ("size", "crop_size", "pad_size", "image_size")
_SIDES = ("height", "width", "shortest_edge", "longest_edge")
# image processors that resize by area: there an edge of `size` is a number of pixels
_BY_AREA = (
    "CohereCompass", "Cosmos3Edge", "Ernie4_5_VL", "Glm46V", "Glm4v", "Glm5Next", "Glmga", "HYV4VL",
    "HunYuanVL", "MiniMaxM3VL", "MuseGlimmer", "PaddleOCRVL", "Qwen2VL", "VideoLlama3",
)  # fmt: skip
_LARGEST_AREA = 1 << 25  # twice that of the largest setting that is known


def check_config(config: dict[str, Any], where: str, lists: bool = True) -> None:
    """Raise InputError where a size in a config, or in one inside it, is none that a model has.

    `lists`: a size may be several, as of a picture's two sides.
    """
    for key, value in config.items():
        if isinstance(value, dict) and (lists or key not in _SIZES):
            check_config(value, where, lists)
        elif key in _SIZES and value is not None:
            least, most = _SIZES[key]
            for size in value if lists and isinstance(value, list) else [value]:
                _check(size, 0 if key in _MAY_BE_ZERO else least, most, key, where)
    side, patch = config.get("image_size"), config.get("patch_size")
    if isinstance(side, int) and isinstance(patch, int) and (side // patch) ** 2 > _MOST_PATCHES:
        raise InputError(
            f"{where}: {side} pixels in patches of {patch} are {(side // patch) ** 2:,} patches, "
            f"and no encoder has more than {_MOST_PATCHES:,}"
        )


def check_preprocessor(config: dict[str, Any], where: str) -> None:
    """Raise InputError where pictures would be prepared in a size that no encoder takes."""
    by_area = str(config.get("image_processor_type")).startswith(_BY_AREA)
    for key in _PIXELS:
        value = config.get(key)
        sides = value if isinstance(value, dict) else {"": value}
        for name in ("", *_SIDES):
            if sides.get(name) is not None:
                area = by_area and name.endswith("_edge")
                _check(sides[name], 1, _LARGEST_AREA if area else LARGEST_SIDE, key, where)
    for key in ("min_pixels", "max_pixels"):
        if config.get(key) is not None:
            _check(config[key], 1, _LARGEST_AREA, key, where)


def _check(value: Any, least: int, most: int, key: str, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{where}: {key} is {_short(value)}, and must be a whole number")
    if not least <= value <= most:
        raise InputError(f"{where}: {key} is {_short(value)}, which no model has ({least}-{most})")


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # more digits than Python writes
        return "too long a number"
    return text if len(text) <= 40 else f"{text[:37]}..."
