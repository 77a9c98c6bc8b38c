"""Estimate the memory that models of other kinds take, to answer and to learn, from their sizes.

python -m benchmarks.machines          prints the table
python -m benchmarks.machines --write  puts it into docs/models.md

The sizes are those in the config.json of the checkpoints that are named, written down here: nothing
is fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from benchmarks.page_table import show_table
from training.sft.estimates import estimate
from training.sft.image_text_recipe import ImageTextRecipe
from training.sft.settings import FinetuneSettings
from vqa.models.memory import model_on_meta, weight_bytes

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
HEAD = ("checkpoint", "parameters", "answer", "answer, 4 bits", "LoRA", "QLoRA")
_TOKENS = 1024  # of a row that learns
_LIBRARIES = 1.5e9  # bytes that torch and CUDA take of their own


def _qwen3_vl(text: dict[str, Any], vision: dict[str, Any]) -> Any:
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20],
            "mrope_interleaved": True}  # fmt: skip
    shared = {"head_dim": 128, "num_key_value_heads": 8, "vocab_size": 151936,
              "rope_parameters": rope}  # fmt: skip
    out = {"out_hidden_size": text["hidden_size"]}
    tied = bool(text.get("tie_word_embeddings"))
    return AutoConfig.for_model(
        "qwen3_vl", text_config=shared | text, vision_config=vision | out, tie_word_embeddings=tied
    )


def _smolvlm(text: dict[str, Any], vision: dict[str, Any]) -> Any:
    return AutoConfig.for_model(
        "smolvlm", scale_factor=4,
        text_config={"model_type": "llama", "vocab_size": 49280} | text,
        vision_config={"model_type": "smolvlm_vision", "image_size": 512, "patch_size": 16}
        | vision,
    )  # fmt: skip


def _sizes(hidden: int, inner: int, layers: int, heads: int, kv_heads: int = 0) -> dict[str, Any]:
    """Give the sizes of a text model or an encoder under the names of configs."""
    sizes = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
             "num_attention_heads": heads, "depth": layers, "num_heads": heads}  # fmt: skip
    return sizes | ({"num_key_value_heads": kv_heads} if kv_heads else {})


CONFIGS = {
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": lambda: _smolvlm(
        _sizes(576, 1536, 30, 9, 3), _sizes(768, 3072, 12, 12)
    ),
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": lambda: _smolvlm(
        _sizes(960, 2560, 32, 15, 5), _sizes(768, 3072, 12, 12)
    ),
    "Qwen/Qwen3-VL-2B-Instruct": lambda: _qwen3_vl(
        _sizes(2048, 6144, 28, 16, 8) | {"tie_word_embeddings": True}, _sizes(1024, 4096, 24, 16)
    ),
    "Qwen/Qwen3-VL-4B-Instruct": lambda: _qwen3_vl(
        _sizes(2560, 9728, 36, 32, 8) | {"tie_word_embeddings": True}, _sizes(1024, 4096, 24, 16)
    ),
    "Qwen/Qwen3-VL-8B-Instruct": lambda: _qwen3_vl(
        _sizes(4096, 12288, 36, 32, 8), _sizes(1152, 4304, 27, 16)
    ),
}


def row(name: str) -> list[str]:
    """Estimate one model."""
    config = CONFIGS[name]()
    model = model_on_meta(name, config)
    count = sum(parameter.numel() for parameter in model.parameters())
    answers = [weight_bytes(model, torch.bfloat16, bits) for bits in (None, "4bit")]
    beside = _beside_weights(name, config)
    learns = [weights + beside for weights in answers]
    memory = [_gigabytes(bytes_ + _LIBRARIES) for bytes_ in (*answers, *learns)]
    return [name, f"{count / 1e9:.2f} billion", *memory]


def _beside_weights(name: str, config: Any) -> int:
    """Estimate what learning takes beside the weights, which QLoRA alone makes smaller."""
    settings = FinetuneSettings(
        recipe="finetune", model=name, output=Path("unused"), gradient_checkpointing=True
    )
    recipe = ImageTextRecipe(settings)
    needed = estimate(
        config, settings, torch.bfloat16, lambda model: recipe.set_trainable(model, settings),
        _TOKENS, recipe.forward,
    )  # fmt: skip
    return needed.total - needed.weights


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


if __name__ == "__main__":
    show_table(__doc__, PAGE, HEAD, map(row, CONFIGS))
