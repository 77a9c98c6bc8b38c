"""Features and tokens that a crash damaged are named and made again: no run learns from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import llava_1_5
from training.common.features import FeatureCache
from training.run import run
from vqa.utils import checksums

Config = Callable[..., str]


def _zeros(path: Path, share: float = 0.5, length: int = 600) -> None:
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * share))
        file.write(bytes(length))


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _features(count: int) -> dict[str, torch.Tensor]:
    return {f"{number:032}": torch.randn(16, 900) for number in range(count)}


@pytest.mark.parametrize("damage", [_zeros, _cut, _empty])
@pytest.mark.parametrize("record", [True, False])
def test_damaged_features_are_forgotten(
    tmp_path: Path,
    damage: Callable[[Path], None],
    record: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tmp_path = tmp_path / "features"
    tmp_path.mkdir()
    held = FeatureCache(tmp_path)
    first, second = _features(40), {f"x{n}": torch.ones(2, 2) for n in range(3)}
    held.add(first)
    (file,) = tmp_path.glob("*.safetensors")
    held.add(second)
    if not record:
        (tmp_path / checksums.RECORD).unlink()
        if damage is _zeros:
            _zeros(file, length=8192)
    damage(file)

    again = FeatureCache(tmp_path)
    again.check([*first, *second])

    assert not any(key in again for key in first)
    assert all(torch.equal(again[key], value) for key, value in second.items())
    assert not file.exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vqa: {file} is damaged")
    again.add(first)
    whole = FeatureCache(tmp_path)
    whole.check([*first, *second])
    assert all(torch.equal(whole[key], value) for key, value in {**first, **second}.items())
    assert checksums.find_damage(tmp_path, "all") is None
    assert capsys.readouterr().err == ""


def test_features_of_an_earlier_version_get_checksums(tmp_path: Path) -> None:
    held = FeatureCache(tmp_path)
    held.add(_features(3))
    (tmp_path / checksums.RECORD).unlink()
    old = FeatureCache(tmp_path)
    old.check(["0" * 32])
    assert "0" * 32 in old
    (file,) = tmp_path.glob("*.safetensors")
    assert checksums.recorded_files(tmp_path) == {file.name}


def test_only_files_that_are_needed_are_read(tmp_path: Path) -> None:
    held = FeatureCache(tmp_path)
    held.add(_features(40))
    (file,) = tmp_path.glob("*.safetensors")
    _zeros(file)
    again = FeatureCache(tmp_path)
    again.check(["another"])
    assert file.exists()


_PLACES = ["features/*/*.safetensors", "tokens/*/ids", "tokens/*/loss_mask", "tokens/*/names.json"]


@pytest.mark.parametrize("place", _PLACES)
def test_a_run_on_a_damaged_cache_gives_what_an_undamaged_one_gives(
    tmp_path: Path, data: Path, config: Config, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    values: dict[str, Any] = {
        "recipe": "finetune",
        "model": llava_1_5(tmp_path / "base"),
        "data": data,
        "max_steps": 2,
        "learning_rate": {"projector": 0.01, "language": 0.01},
    }
    run(config(**values, output=tmp_path / "first"))
    (file,) = (tmp_path / "cache").glob(place)
    before = file.read_bytes()
    _zeros(file, share=0, length=len(before))
    assert file.read_bytes() != before
    capfd.readouterr()

    run(config(**values, output=tmp_path / "second"))

    assert f"vqa: {file} is damaged" in capfd.readouterr().err
    assert file.read_bytes() == before
    first, second = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "second")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
