from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from vqa.errors import InputError
from vqa.models.memory import check_memory

SEVEN_B = LlavaConfig(
    vision_config=CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=336, patch_size=14, projection_dim=768,
    ),
    text_config=LlamaConfig(vocab_size=32064),
)  # fmt: skip


def free(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    memory = SimpleNamespace(available=int(gigabytes * 1e9))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


def test_llava_7b_on_machines_of_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 16)
    check_memory("llava", SEVEN_B, torch.bfloat16, "cpu", None)  # 14.1 GB
    free(monkeypatch, 12)
    with pytest.raises(InputError, match=r"about 14\.1 GB .* `quantize` 8bit \(7\.8 GB\)"):
        check_memory("llava", SEVEN_B, torch.bfloat16, "cpu", None)
    check_memory("llava", SEVEN_B, torch.bfloat16, "cpu", "8bit")
    free(monkeypatch, 6)
    with pytest.raises(InputError, match="`quantize` 4bit"):
        check_memory("llava", SEVEN_B, torch.bfloat16, "cpu", "8bit")
    free(monkeypatch, 2)
    with pytest.raises(InputError, match="choose a smaller model"):
        check_memory("llava", SEVEN_B, torch.bfloat16, "cpu", None)


def test_other_devices_refuse_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1)
    check_memory("llava", SEVEN_B, torch.bfloat16, "cuda", None)
