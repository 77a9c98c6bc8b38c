"""What a dry run tells, and that it takes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
import torch
from transformers import AutoConfig

from tests.tiny import llava_1_5
from training.common import memory
from training.common.memory import MemoryEstimate
from training.run import run
from training.sft.estimates import estimate
from training.sft.finetune import FinetuneRecipe
from training.sft.settings import FinetuneSettings


def estimate_for(
    path: Path, dtype: torch.dtype = torch.float32, **changes: object
) -> MemoryEstimate:
    values = {"recipe": "finetune", "model": "m", "output": "o", "row_tokens": 128, **changes}
    settings = FinetuneSettings.model_validate(values)
    config = AutoConfig.from_pretrained(path)
    recipe = FinetuneRecipe(settings)
    return estimate(
        config, settings, dtype, lambda model: recipe.set_trainable(model, settings),
        settings.row_tokens, recipe.forward, quantize=settings.quantize,
    )  # fmt: skip


def test_the_parts_of_the_estimate(tmp_path: Path) -> None:
    base = llava_1_5(tmp_path / "base")
    plain = estimate_for(base)
    full = estimate_for(base, train={"language": "full"})
    learns = sum(module.trainable for module in full.modules)
    assert full.trained == 3 * 4 * learns  # gradients and two moments; the weights are float32
    assert full.weights == plain.weights == 4 * sum(module.parameters for module in full.modules)
    half = estimate_for(base, torch.bfloat16)
    assert half.weights * 2 == plain.weights
    assert estimate_for(base, quantize="4bit").weights < plain.weights
    assert estimate_for(base, row_tokens=256).activations > 1.8 * plain.activations
    assert estimate_for(base, gradient_checkpointing=True).activations < plain.activations


def test_it_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    """A model of 13 billion parameters is looked at without one of them."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=336, patch_size=14, hidden_size=1024,
                                       num_hidden_layers=2, num_attention_heads=16),
        text_config=LlamaConfig(hidden_size=5120, intermediate_size=13824, num_hidden_layers=40,
                                num_attention_heads=40),
    )  # fmt: skip
    settings = FinetuneSettings(recipe="finetune", model="m", output=tmp_path)
    recipe = FinetuneRecipe(settings)
    before = psutil.Process().memory_info().rss
    needed = estimate(
        config,
        settings,
        torch.bfloat16,
        lambda model: recipe.set_trainable(model, settings),
        1024,
        recipe.forward,
    )
    assert 25e9 < needed.weights < 28e9
    assert psutil.Process().memory_info().rss - before < 1e9


def test_a_dry_run_tells_and_writes_nothing(tmp_path, data, config, capsys, monkeypatch):
    base, out = llava_1_5(tmp_path / "base"), tmp_path / "run"
    path = config(recipe="finetune", model=base, data=data, output=out)
    run(path, dry_run=True)
    shown, modules = capsys.readouterr()
    assert "trainable" in modules
    assert "steps" in shown and "memory at its peak" in shown
    assert "on this machine" in shown
    assert not out.exists()
    monkeypatch.setattr(memory, "available", lambda device: 1 << 20)
    run(path, dry_run=True)
    shown = capsys.readouterr().out
    assert "it does not fit; try" in shown and "quantize=4bit" in shown
    assert "on this machine" not in shown


@pytest.mark.parametrize("recipe", ["pretrain"])
def test_pretraining_has_one_too(tmp_path, data, config, capsys, recipe):
    from tests import tiny

    run(config(recipe=recipe, vision=tiny.vision(tmp_path / "v", "clip"),
               language=tiny.language(tmp_path / "l"), data=data, output=tmp_path / "run"),
        dry_run=True)  # fmt: skip
    assert "memory at its peak" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    assert json.loads(data.read_text().splitlines()[0])["id"] == 0
