"""Memory and time of training LLaVA-1.5 on 1 to 64 GPUs: the tables of docs/scale.md.

    python benchmarks/scale.py

The bytes are those of `vqa train --dry-run` for the same settings, whose parts each way to train
spreads over the GPUs or does not; the time follows from the arithmetic of the layers. No GPU is
needed and none was used: nothing of it is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from training.common.memory import MemoryEstimate
from training.sft.estimates import estimate
from training.sft.finetune import FinetuneRecipe
from training.sft.settings import FinetuneSettings

GPUS = (1, 2, 4, 8, 16, 32, 64)
SIZES = {"7B": (4096, 11008, 32, 32), "13B": (5120, 13824, 40, 40)}  # width, inner, layers, heads
ROW = 2048  # tokens of a packed row
TOKENS = 600e6  # about what LLaVA-1.5's own mix has: 665,000 conversations of 900
PROGRAM = 1.5e9  # bytes of PyTorch's libraries on a GPU
ROOM = 80e9 * 0.9  # bytes of a GPU that may be planned with, as in a dry run
SPEED = 312e12 * 0.4  # operations a second: bfloat16 of an A100, and the share that is reached
BESIDE, BETWEEN = 250e9, 25e9  # bytes a second of a GPU within a machine and between machines
IN_A_MACHINE = 8  # GPUs


@dataclass(frozen=True)
class Way:
    """How a run uses its GPUs: what of its memory it spreads over them, and what it sends."""

    name: str
    settings: dict[str, Any]
    spread: tuple[str, ...] = ()  # parts of the memory
    passes: int = 3  # of the arithmetic of a forward pass, the one for checkpointing included
    sends: int = 0  # times the weights, for each packed row


FULL = {"train": {"language": "full"}}
WAYS = (
    Way("QLoRA, data parallel", {"quantize": "4bit"}),
    Way("LoRA, data parallel", {}),
    Way("all weights, DeepSpeed ZeRO-2", FULL, ("trained",), passes=4, sends=2),
    Way("all weights, FSDP", FULL, ("weights", "trained"), passes=4, sends=3),
)


def needed(size: str, way: Way) -> MemoryEstimate:
    """Estimate a step on one GPU, as a dry run does."""
    values = {
        "recipe": "finetune", "model": "llava", "output": "run", "row_tokens": ROW,
        "dtype": "bfloat16", "gradient_checkpointing": True, **way.settings,
    }  # fmt: skip
    settings = FinetuneSettings.model_validate(values)
    recipe = FinetuneRecipe(settings)
    return estimate(
        config(size), settings, torch.bfloat16,
        lambda model: recipe.set_trainable(model, settings),
        ROW, recipe.forward, quantize=settings.quantize, process_bytes=int(PROGRAM),
    )  # fmt: skip


def config(size: str) -> LlavaConfig:
    """Make the config of LLaVA-1.5."""
    width, inner, layers, heads = SIZES[size]
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            image_size=336, patch_size=14, hidden_size=1024, intermediate_size=4096,
            num_hidden_layers=24, num_attention_heads=16,
        ),
        text_config=LlamaConfig(
            vocab_size=32064, hidden_size=width, intermediate_size=inner,
            num_hidden_layers=layers, num_attention_heads=heads,
        ),
    )  # fmt: skip


def bytes_each(memory: MemoryEstimate, size: str, way: Way, gpus: int) -> float:
    """Compute the bytes on each of so many GPUs."""
    parts = ("weights", "trained", "activations", "process_bytes")
    total = sum(getattr(memory, part) / (gpus if part in way.spread else 1) for part in parts)
    if gpus > 1 and "weights" in way.spread:  # one layer at a time is there as a whole
        total += memory.weights / SIZES[size][2]
    if gpus > 1 and not way.spread:  # gradients are sent from a second copy
        total += 4 * sum(module.trainable for module in memory.modules)
    return total


def hours(memory: MemoryEstimate, size: str, way: Way, gpus: int) -> float:
    """Compute how long `TOKENS` take: as long as the arithmetic, or what is sent meanwhile."""
    width, _, layers, _ = SIZES[size]
    language = sum(m.parameters for m in memory.modules if "vision" not in m.name)
    forward = 2 * ROW * language + 4 * ROW**2 * width * layers
    sent = way.sends * 2 * language * (gpus - 1) / gpus  # two bytes a weight
    row = max(way.passes * forward / SPEED, sent / (BESIDE if gpus <= IN_A_MACHINE else BETWEEN))
    return TOKENS / ROW / gpus * row / 3600


def tables() -> Iterator[str]:
    """Yield the lines of both tables."""
    for size in SIZES:
        yield f"| LLaVA-1.5 {size}: GB on each GPU | " + " | ".join(map(str, GPUS)) + " |"
        yield "| --- |" + " --- |" * len(GPUS)
        rows = [(way, needed(size, way)) for way in WAYS]
        for way, memory in rows:
            cells = (f"{bytes_each(memory, size, way, gpus) / 1e9:.0f}" for gpus in GPUS)
            yield f"| {way.name} | " + " | ".join(cells) + " |"
        yield ""
        yield f"| LLaVA-1.5 {size}: hours | " + " | ".join(map(str, GPUS)) + " |"
        yield "| --- |" + " --- |" * len(GPUS)
        for way, memory in rows:
            cells = (
                f"{hours(memory, size, way, gpus):.3g}"
                if bytes_each(memory, size, way, gpus) <= ROOM
                else "does not fit"
                for gpus in GPUS
            )
            yield f"| {way.name} | " + " | ".join(cells) + " |"
        yield ""


if __name__ == "__main__":
    print("\n".join(tables()))
