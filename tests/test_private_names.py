"""Private names of torch, transformers and accelerate that this project uses.

They may change in any release: this test says which, and where each is used, before a user's
training does.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import hooks
from torch import nn
from torch._subclasses import fake_tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

ROOT = Path(__file__).parents[1]
TRAINER = "training/common"

METHODS_AND_ATTRIBUTES = [
    (torch.ops.mkldnn, "_is_mkldnn_bf16_supported", "vqa/models"),
    (torch.cpu, "_is_avx512_bf16_supported", "vqa/models"),
    (torch.cpu, "_is_amx_tile_supported", "vqa/models"),
    (torch.zeros(1).untyped_storage(), "_cdata", "training"),
    (nn.Module(), "_parameters", "training"),
    (nn.Module(), "_buffers", "training"),
    (nn.Module(), "_forward_hooks", "vqa/engine"),
    (nn.Module(), "_forward_pre_hooks", "vqa/engine"),
    (fake_tensor, "FakeTensorMode", "training"),  # a private module
    (AutoModelForCausalLM, "_model_mapping", "vqa/models"),
    (PreTrainedModel, "_init_weights", "vqa/models"),
    (PreTrainedModel, "_no_split_modules", "vqa/models"),
    (Trainer, "_save", TRAINER),
    (Trainer, "_save_checkpoint", TRAINER),
    (Trainer, "_save_rng_state", TRAINER),
    (Trainer, "_load_from_checkpoint", TRAINER),
    (Trainer, "_get_train_sampler", TRAINER),
    (Trainer, "_get_grad_norm", TRAINER),
    (Trainer, "_run_epoch", TRAINER),
    (Trainer, "_evaluate", TRAINER),
    (Trainer, "_finalize_training", TRAINER),
]
# attributes that exist while the library's own code runs: looked for in that code
SET_IN_CODE = [
    (Trainer, "_tr_loss", TRAINER),
    (Trainer, "_total_loss_scalar", TRAINER),
    (Trainer, "_globalstep_last_logged", TRAINER),
    (Trainer, "_initial_global_step", TRAINER),
    (TrainingArguments, "_n_gpu", "training"),
    (hooks, "_hf_hook", "vqa/engine"),
]


def used(name: str, place: str) -> bool:
    path = ROOT / place
    files = path.rglob("*.py") if path.is_dir() else [path]
    return any(re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")) for file in files)


@pytest.mark.parametrize(("owner", "name", "place"), METHODS_AND_ATTRIBUTES)
def test_the_library_has_it(owner: Any, name: str, place: str) -> None:
    assert hasattr(owner, name), f"{place} uses it"
    assert used(name, place), "nothing uses it: leave it out here"


@pytest.mark.parametrize(("owner", "name", "place"), SET_IN_CODE)
def test_the_code_of_the_library_sets_it(owner: Any, name: str, place: str) -> None:
    assert re.search(rf"\b{name}\b\S* = ", inspect.getsource(owner)), f"{place} uses it"
    assert used(name, place), "nothing uses it: leave it out here"


def test_config_classes_are_the_keys_of_the_mapping() -> None:
    assert LlamaConfig in AutoModelForCausalLM._model_mapping


def test_every_private_method_of_the_trainer_is_listed() -> None:
    listed = {name for owner, name, _ in METHODS_AND_ATTRIBUTES if owner is Trainer}
    overridden = {
        name
        for file in (ROOT / "training").rglob("*.py")
        if "Trainer" in (text := file.read_text(encoding="utf-8"))
        for name in re.findall(r"super\(\)\.(_[a-z]\w+)", text)
        if hasattr(Trainer, name)
    }
    assert overridden <= listed
