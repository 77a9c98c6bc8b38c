"""The table of tiny vision-language models: what each architecture's config and processor are.

Sizes are as small as they go; tokens, settings and templates are those of the checkpoint that is
named, as far as they matter for a conversation. `tests.tiny_vlms` writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import transformers
from transformers import PreTrainedTokenizerFast

from tests import vlm_templates as templates
from tests.tiny_text import byte_level_tokenizer, llama_tokenizer


@dataclass(frozen=True)
class Architecture:
    """How a tiny model of one kind is made."""

    checkpoint: str  # a public one of this kind
    text: dict[str, Any]  # of the config, as `vision` and `others`
    vision: dict[str, Any]
    others: dict[str, Any]
    processor: Callable[[PreTrainedTokenizerFast], Any]
    template: str | None
    control: tuple[str, ...]  # special tokens beside those of the text model's kind
    named: dict[str, str] = field(default_factory=dict)  # attributes of the tokenizer, and tokens
    tokenizer: Callable[..., PreTrainedTokenizerFast] = byte_level_tokenizer
    scale: float = 5  # of its matrices, enlarged so that answers vary
    lacks: frozenset[str] = frozenset()  # what it cannot do, of `tests.vlm_checks.ABILITIES`


def _of(name: str, **settings: Any) -> Any:
    """Make a part of a processor by its class."""
    return getattr(transformers, name)(**settings)


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


def _processor(name: str, image_processor: str, settings: dict[str, Any], **others: Any) -> Any:
    """Return what makes a processor of a tokenizer; a name among `others` is a part's class."""

    def make(tokenizer: PreTrainedTokenizerFast) -> Any:
        parts = {
            key: _of(value[0], **value[1]) if key == "video_processor" else value
            for key, value in others.items()
        }
        image = _of(image_processor, **settings)
        return _of(name, image_processor=image, tokenizer=tokenizer, **parts)

    return make


# 4 bits on a CPU want inputs by 64 and outputs by 32
_TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "head_dim": 16,
    "num_key_value_heads": 2, "num_hidden_layers": 2, "max_position_embeddings": 2048,
    "sliding_window": None,
}  # fmt: skip
_VISION: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
_CLIP = _VISION | {"model_type": "clip_vision_model"}
_PIXTRAL = _VISION | {"model_type": "pixtral", "head_dim": 16, "image_size": 56}
_SIGLIP = _VISION | {"model_type": "siglip_vision_model"}
_DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_MROPE = {"rope_parameters": _DEFAULT_ROPE | {"mrope_section": [2, 3, 3]}}
_INTERLEAVED = {"rope_parameters": _MROPE["rope_parameters"] | {"mrope_interleaved": True}}
_MOE = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
}  # fmt: skip
_QWEN2_VISION: dict[str, Any] = {
    "depth": 2, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
}  # fmt: skip
_QWEN3_VISION = _QWEN2_VISION | {
    "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64, "patch_size": 16,
    "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
}  # fmt: skip
_QWEN2_PIXELS = {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}}
_QWEN3_PIXELS = {"size": {"shortest_edge": 64 * 64, "longest_edge": 16777216}, "patch_size": 16}
_TILES = [[28, 28], [28, 56], [56, 28], [56, 56]]
_CROP = {"size": {"shortest_edge": 28}, "crop_size": _square(28)}
_IDEFICS_SIZE = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}
_CLIP_COUNT = {
    "patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1,
}  # fmt: skip
_QWEN3_PROCESSOR = _processor(
    "Qwen3VLProcessor", "Qwen2VLImageProcessor", _QWEN3_PIXELS,
    video_processor=("Qwen3VLVideoProcessor", {}),
)  # fmt: skip


ARCHITECTURES: dict[str, Architecture] = {
    "llava_next": Architecture(
        "llava-hf/llava-v1.6-mistral-7b-hf",
        _TEXT | {"model_type": "mistral"}, _CLIP,
        {"image_grid_pinpoints": _TILES[1:], "vision_feature_layer": -2},
        _processor(
            "LlavaNextProcessor", "LlavaNextImageProcessor",
            _CROP | {"image_grid_pinpoints": _TILES[1:]}, **_CLIP_COUNT,
        ),
        templates.LLAVA_NEXT, ("<image>",), tokenizer=llama_tokenizer,
    ),
    "llava_next_video": Architecture(
        "llava-hf/LLaVA-NeXT-Video-7B-hf",
        _TEXT | {"model_type": "llama"}, _CLIP,
        {"image_grid_pinpoints": _TILES[1:], "vision_feature_layer": -2},
        _processor(
            "LlavaNextVideoProcessor", "LlavaNextImageProcessor",
            _CROP | {"image_grid_pinpoints": _TILES[1:]}, **_CLIP_COUNT,
            video_processor=("LlavaNextVideoVideoProcessor", _CROP),
        ),
        templates.VIPLLAVA, ("<image>", "<video>"), tokenizer=llama_tokenizer,
    ),
    "llava_onevision": Architecture(
        "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        _TEXT | {"model_type": "qwen2"}, _SIGLIP | {"vision_use_head": False},
        {"image_grid_pinpoints": _TILES},
        _processor(
            "LlavaOnevisionProcessor", "LlavaOnevisionImageProcessor",
            {"size": _square(28), "image_grid_pinpoints": _TILES},
            video_processor=("LlavaOnevisionVideoProcessor", {"size": _square(28)}),
            num_image_tokens=4, vision_feature_select_strategy="full",
        ),
        templates.LLAVA_ONEVISION, ("<image>", "<video>"),
    ),
    "vipllava": Architecture(
        "llava-hf/vip-llava-7b-hf",
        _TEXT | {"model_type": "llama"}, _CLIP, {"vision_feature_layers": [-2, -1, 0, 1, 2]},
        _processor("LlavaProcessor", "CLIPImageProcessor", _CROP, **_CLIP_COUNT),
        templates.VIPLLAVA, ("<image>",), tokenizer=llama_tokenizer,
    ),
    "qwen2_vl": Architecture(
        "Qwen/Qwen2-VL-2B-Instruct",
        _TEXT | _MROPE, _QWEN2_VISION | {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}, {},
        _processor(
            "Qwen2VLProcessor", "Qwen2VLImageProcessor", _QWEN2_PIXELS,
            video_processor=("Qwen2VLVideoProcessor", {}),
        ),
        templates.QWEN2_VL, templates.QWEN_TOKENS,
    ),
    "qwen2_5_vl": Architecture(
        "Qwen/Qwen2.5-VL-3B-Instruct",
        _TEXT | _MROPE,
        _QWEN2_VISION | {
            "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64,
            "fullatt_block_indexes": [1], "window_size": 56,
        },
        {},
        _processor(
            "Qwen2_5_VLProcessor", "Qwen2VLImageProcessor", _QWEN2_PIXELS,
            video_processor=("Qwen2VLVideoProcessor", {}),
        ),
        templates.QWEN2_VL, templates.QWEN_TOKENS,
    ),
    "qwen3_vl": Architecture(
        "Qwen/Qwen3-VL-2B-Instruct",
        _TEXT | _INTERLEAVED, _QWEN3_VISION, {},
        _QWEN3_PROCESSOR,
        templates.QWEN3_VL, templates.QWEN_TOKENS,
    ),
    "qwen3_vl_moe": Architecture(
        "Qwen/Qwen3-VL-30B-A3B-Instruct",
        _TEXT | _INTERLEAVED | _MOE, _QWEN3_VISION, {},
        _QWEN3_PROCESSOR,
        templates.QWEN3_VL, templates.QWEN_TOKENS,
    ),
    "qwen3_5": Architecture(
        "Qwen/Qwen3.5-9B",
        _TEXT | _INTERLEAVED | {
            "layer_types": ["linear_attention", "full_attention"], "linear_key_head_dim": 16,
            "linear_value_head_dim": 2, "linear_num_key_heads": 2, "linear_num_value_heads": 32,
        },
        {k: v for k, v in _QWEN3_VISION.items() if k != "deepstack_visual_indexes"}, {},
        _QWEN3_PROCESSOR,
        templates.QWEN3_VL, templates.QWEN_TOKENS, scale=2,
    ),
    "glm4v": Architecture(
        "zai-org/GLM-4.1V-9B-Thinking",
        _TEXT | {"rope_parameters": _DEFAULT_ROPE | {
            "mrope_section": [2, 3, 3], "partial_rotary_factor": 1.0}},
        _QWEN2_VISION | {
            "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64, "image_size": 56,
        },
        {},
        _processor(
            "Glm4vProcessor", "Glm4vImageProcessor",
            {"size": {"shortest_edge": 2 * 56 * 56, "longest_edge": 9633792}},
            video_processor=("Glm4vVideoProcessor", {}),
        ),
        templates.GLM4V,
        ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|begin_of_image|>",
         "<|image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|video|>", "<|end_of_video|>"),
    ),
    "smolvlm": Architecture(
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        _TEXT | {"model_type": "llama"}, _VISION | {"model_type": "smolvlm_vision"},
        {"scale_factor": 2},
        _processor(
            "SmolVLMProcessor", "SmolVLMImageProcessor", _IDEFICS_SIZE, image_seq_len=1,
            video_processor=("SmolVLMVideoProcessor", _IDEFICS_SIZE),
        ),
        templates.SMOLVLM, templates.IDEFICS_TOKENS,
    ),
    "idefics2": Architecture(
        "HuggingFaceM4/idefics2-8b",
        _TEXT | {"model_type": "mistral"}, _VISION | {"model_type": "idefics2_vision"},
        {"perceiver_config": {
            "hidden_size": 64, "resampler_n_latents": 3, "resampler_depth": 1,
            "resampler_n_heads": 2, "resampler_head_dim": 16, "num_key_value_heads": 1}},
        _processor(
            "Idefics2Processor", "Idefics2ImageProcessor",
            {"size": {"shortest_edge": 14, "longest_edge": 28}}, image_seq_len=3,
        ),
        templates.IDEFICS2, ("<image>", "<fake_token_around_image>", "<end_of_utterance>"),
        tokenizer=llama_tokenizer,
    ),
    "idefics3": Architecture(
        "HuggingFaceM4/Idefics3-8B-Llama3",
        _TEXT | {"model_type": "llama"}, _VISION | {"model_type": "idefics3_vision"},
        {"scale_factor": 2},
        _processor("Idefics3Processor", "Idefics3ImageProcessor", _IDEFICS_SIZE, image_seq_len=1),
        templates.IDEFICS3, ("<|begin_of_text|>", *templates.IDEFICS_TOKENS),
    ),
    "internvl": Architecture(
        "OpenGVLab/InternVL3-1B-hf",
        _TEXT | {"model_type": "qwen2"},
        _VISION | {
            "model_type": "internvl_vision", "image_size": [28, 28], "patch_size": [14, 14],
        },
        {"image_seq_length": 1, "downsample_ratio": 0.5},
        _processor(
            "InternVLProcessor", "GotOcr2ImageProcessor",
            {"size": _square(28), "crop_to_patches": True, "max_patches": 4}, image_seq_length=1,
            video_processor=("InternVLVideoProcessor", {"size": _square(28)}),
        ),
        templates.INTERNVL, ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        {"start_image_token": "<img>", "end_image_token": "</img>", "video_token": "<video>",
         "context_image_token": "<IMG_CONTEXT>"},
    ),
    "gemma3": Architecture(
        "google/gemma-3-4b-it",
        _TEXT | {"model_type": "gemma3_text", "sliding_window": 16}, _SIGLIP,
        {"mm_tokens_per_image": 4},
        _processor(
            "Gemma3Processor", "Gemma3ImageProcessor", {"size": _square(28)}, image_seq_length=4
        ),
        templates.GEMMA3,
        ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>",
         "<image_soft_token>"),
        {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>",
         "image_token": "<image_soft_token>"},
        tokenizer=llama_tokenizer,
    ),
    "paligemma": Architecture(
        "google/paligemma2-3b-mix-224",
        _TEXT | {"model_type": "gemma2", "sliding_window": 16}, _SIGLIP, {"projection_dim": 64},
        _processor(
            "PaliGemmaProcessor", "SiglipImageProcessor",
            {"size": _square(28), "image_seq_length": 4},
        ),
        None, ("<image>",), {"image_token": "<image>"}, tokenizer=llama_tokenizer,
        lacks=frozenset({"earlier turns", "system prompt", "no picture"}),
    ),
    "mistral3": Architecture(
        "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
        _TEXT | {"model_type": "mistral"}, _PIXTRAL,
        {"spatial_merge_size": 2},
        _processor(
            "PixtralProcessor", "PixtralImageProcessor",
            {"size": {"longest_edge": 56}, "patch_size": _square(14)}, patch_size=14,
            spatial_merge_size=2,
        ),
        templates.MISTRAL3,
        templates.PIXTRAL_TOKENS,
    ),
    "llava": Architecture(  # Pixtral as a LLaVA; others of this kind run on the own engine
        "mistral-community/pixtral-12b",
        _TEXT | {"model_type": "mistral"}, _PIXTRAL,
        {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"},
        _processor(
            "PixtralProcessor", "PixtralImageProcessor",
            {"size": {"longest_edge": 56}, "patch_size": _square(14)}, patch_size=14,
        ),
        templates.MISTRAL3,
        templates.PIXTRAL_TOKENS,
    ),
    "mllama": Architecture(
        "meta-llama/Llama-3.2-11B-Vision-Instruct",
        _TEXT | {
            "model_type": "mllama_text_model", "cross_attention_layers": [1],
            "rope_parameters": _DEFAULT_ROPE,
        },
        {
            "model_type": "mllama_vision_model", "hidden_size": 32, "intermediate_size": 64,
            "attention_heads": 2, "num_hidden_layers": 2, "num_global_layers": 1, "image_size": 28,
            "patch_size": 14, "max_num_tiles": 4, "intermediate_layers_indices": [0],
            "vision_output_dim": 64, "supported_aspect_ratios":
            [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
        },
        {},
        _processor(
            "MllamaProcessor", "MllamaImageProcessor", {"size": _square(28), "max_image_tiles": 4}
        ),
        templates.MLLAMA,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|image|>",
         "<|python_tag|>"),
        lacks=frozenset({"system prompt"}),
    ),
    "aya_vision": Architecture(
        "CohereLabs/aya-vision-8b",
        _TEXT | {"model_type": "cohere2", "sliding_window": 16}, _SIGLIP,
        {"downsample_factor": 2, "vision_feature_layer": -1},
        _processor(
            "AyaVisionProcessor", "GotOcr2ImageProcessor",
            {"size": _square(28), "crop_to_patches": True, "max_patches": 4}, patch_size=14,
            img_size=28, downsample_factor=2,
        ),
        templates.COHERE,
        ("<image>", *templates.COHERE_TOKENS),
    ),
    "cohere2_vision": Architecture(
        "CohereLabs/command-a-vision-07-2025",
        _TEXT | {"model_type": "cohere2", "sliding_window": 16}, _SIGLIP,
        {"downsample_factor": 2, "alignment_intermediate_size": 64},
        _processor(
            "Cohere2VisionProcessor", "Cohere2VisionImageProcessor",
            {"size": _square(28), "patch_size": 1, "max_patches": 4},
        ),
        templates.COHERE.replace("<image>", "<|IMG_PATCH|>"),
        templates.COHERE_TOKENS,
        {"boi_token": "<|START_OF_IMG|>", "eoi_token": "<|END_OF_IMG|>",
         "image_token": "<|IMG_PATCH|>", "img_line_break_token": "<|IMG_LINE_BREAK|>"},
    ),
    "lfm2_vl": Architecture(
        "LiquidAI/LFM2-VL-450M",
        _TEXT | {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
        {
            "model_type": "siglip2_vision_model", "hidden_size": 32, "intermediate_size": 64,
            "num_attention_heads": 2, "num_hidden_layers": 2, "patch_size": 16, "num_patches": 16,
            "vision_use_head": False,
        },
        {"projector_hidden_size": 64},
        _processor(
            "Lfm2VlProcessor", "Lfm2VlImageProcessor",
            {"tile_size": 64, "min_image_tokens": 1, "max_image_tokens": 4, "max_tiles": 4},
        ),
        templates.QWEN3_VL.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>"),
        ("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>", "<|img_row_1_col_1|>"),
    ),
    "ovis2": Architecture(
        "thisisiron/Ovis2-1B-hf",
        _TEXT | {"model_type": "qwen2"},
        _VISION | {"model_type": "ovis2_vision_model", "vocab_size": 40},
        {"hidden_size": 64},
        _processor(
            "Ovis2Processor", "Ovis2ImageProcessor",
            {"size": _square(28), "crop_to_patches": True, "max_patches": 4}, image_seq_length=4,
        ),
        templates.QWEN3_VL.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>"),
        ("<image>", "<IMG_ATOM>", "<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>",
         "<IMG_END>"),
    ),
    "perception_lm": Architecture(
        "facebook/Perception-LM-1B",
        _TEXT | {"model_type": "llama"},
        {
            "model_type": "timm_wrapper", "architecture": "vit_pe_core_large_patch14_336",
            "model_args": {
                "embed_dim": 32, "depth": 1, "num_heads": 2, "img_size": [28, 28],
                "global_pool": "", "use_post_transformer_norm": False, "init_values": 0.1,
                "ref_feat_shape": [2, 2],
            },
        },
        {"projector_pooling_ratio": 1, "vision_use_cls_token": True},
        _processor(
            "PerceptionLMProcessor", "PerceptionLMImageProcessor",
            {"tile_size": 28, "max_num_tiles": 4}, patch_size=14, pooling_ratio=1,
            video_processor=("PerceptionLMVideoProcessor", {"size": _square(28)}),
        ),
        templates.INTERNVL.replace("<IMG_CONTEXT>", "<|image|>"),
        ("<|image|>", "<|video|>"), {"image_token": "<|image|>", "video_token": "<|video|>"},
        lacks=frozenset({"several pictures"}),  # of different numbers of tiles
    ),
}  # fmt: skip
