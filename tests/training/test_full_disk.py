"""A disk that is full at any moment of a training: one line, the file, and what is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.run import vqa_here
from tests.disk import REASON, full_beyond
from tests.tiny import llava_1_5
from training.run import run
from training.sft.finetune import FinetuneRecipe
from vqa.errors import VQAError

VALUES = {"recipe": "finetune", "epochs": 1, "max_steps": 2, "validation": {"share": 0.3}}


@pytest.mark.parametrize("size", [200, 4_000, 30_000, 120_000])
def test_wherever_it_is_full_the_line_says_the_file(tmp_path, data, config, size):
    out = tmp_path / "run"
    path = config(**VALUES, model=llava_1_5(tmp_path / "base"), data=data, output=out)
    with full_beyond(size), pytest.raises(VQAError) as ended:
        run(path)
    line = str(ended.value)
    assert REASON in line and "serializing" not in line, line
    assert str(tmp_path) in line and ".tmp" not in line, line
    assert "give the same command again" in line, line
    assert ended.value.exit_code == 1
    run(path)
    assert (out / "adapter_model.safetensors").is_file()


def test_full_at_the_last_save(tmp_path, data, config, capfd, monkeypatch):
    out = tmp_path / "run"
    path = config(**VALUES, model=llava_1_5(tmp_path / "base"), data=data, output=out)
    save = FinetuneRecipe.save

    def full(*args, **kwargs):
        with full_beyond(1_000):
            save(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuneRecipe, "save", full)
        done = vqa_here(capfd, "train", path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"vqa: Cannot write {out}: {REASON} (what was there stays); {out / 'checkpoint-2'} is "
        "whole: make room and give the same command again"
    )
    assert not [name for name in out.iterdir() if ".tmp" in name.name]
    assert vqa_here(capfd, "train", path).returncode == 0


def test_the_cache_emptied_meanwhile_costs_nothing(tmp_path, data, config, monkeypatch):
    from training.common import features

    encoded = features._encoded
    calls = []

    def emptied(*args):
        if not calls:
            shutil.rmtree(tmp_path / "cache" / "features")
        calls.append(0)
        return encoded(*args)

    monkeypatch.setattr(features, "_encoded", emptied)
    out = tmp_path / "run"
    run(config(**VALUES, model=llava_1_5(tmp_path / "base"), data=data, output=out))
    assert calls and (out / "adapter_model.safetensors").is_file()


def test_no_room_for_the_cache_says_which_place_to_name(tmp_path: Path) -> None:
    import torch

    from training.common.features import FeatureCache

    held = FeatureCache(tmp_path / "features")
    with full_beyond(1_000), pytest.raises(VQAError, match=r"features/.*set VQA_CACHE"):
        held.add({"key": torch.zeros(1000)})
    assert list((tmp_path / "features").iterdir()) == []
    held.add({"key": torch.zeros(1000)})
    assert "key" in held
