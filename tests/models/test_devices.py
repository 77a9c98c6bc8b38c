"""Which type weights get where none is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from tests import tiny
from vqa.models import devices
from vqa.models.checkpoints import load
from vqa.models.llava import compose


@pytest.mark.parametrize(
    ("capability", "avx512_bf16", "amx", "onednn", "fast"),
    [
        ("AVX512", False, False, True, False),  # oneDNN has such products, and converts for each
        ("AVX512", True, False, True, True),
        ("AVX512", False, True, True, True),
        ("AVX2", False, False, False, False),
        ("DEFAULT", False, False, True, True),  # ARM with its own instructions
    ],
)
def test_bfloat16_is_fast_where_the_cpu_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch,
    capability: str, avx512_bf16: bool, amx: bool, onednn: bool, fast: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    assert devices.fast_bfloat16() is fast


@pytest.fixture
def half(tmp_path: Path) -> str:
    """A model stored in float16."""
    return str(tiny.llava_1_5(tmp_path / "half"))


def test_half_weights_are_bfloat16_where_the_cpu_multiplies_it(
    half: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "fast_bfloat16", lambda: True)
    assert load(half, device="cpu").model.dtype == torch.bfloat16


def test_half_weights_are_float32_where_it_does_not_and_memory_suffices(
    half: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "fast_bfloat16", lambda: False)
    assert load(half, device="cpu").model.dtype == torch.float32
    monkeypatch.setattr(devices, "_SHARE_OF_MEMORY", 0.0)
    assert load(half, device="cpu").model.dtype == torch.bfloat16


def test_what_cannot_be_built_is_left_to_the_loading_of_it(
    half: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AutoConfig.from_pretrained(half)
    config.text_config.rope_parameters["rope_theta"] = None
    monkeypatch.setattr(devices, "fast_bfloat16", lambda: False)
    assert devices.dtype_of("auto", config, "cpu") == torch.float32


def test_full_weights_stay_as_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "fast_bfloat16", lambda: True)
    composed = compose(tiny.vision(tmp_path / "v", "clip"), tiny.language(tmp_path / "l"))
    composed.model.save_pretrained(tmp_path / "full")
    composed.processor.save_pretrained(tmp_path / "full")
    assert load(str(tmp_path / "full"), device="cpu").model.dtype == torch.float32


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_what_is_asked_for_is_taken(half: str, name: str) -> None:
    assert load(half, device="cpu", dtype=name).model.dtype == getattr(torch, name)
