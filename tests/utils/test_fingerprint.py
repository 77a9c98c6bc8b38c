from __future__ import annotations

import copy
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vqa.errors import InputError
from vqa.utils import fingerprint


def test_bytes_and_file_are_the_first_half_of_sha256(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    expected = hashlib.sha256(data).hexdigest()[:32]
    (tmp_path / "file").write_bytes(data)
    assert fingerprint.of_bytes(data) == expected
    assert fingerprint.of_file(tmp_path / "file") == expected
    with pytest.raises(InputError, match="none"):
        fingerprint.of_file(tmp_path / "none")


def test_json_ignores_the_order_of_keys_only() -> None:
    assert fingerprint.of_json({"a": 1, "b": [1, 2]}) == fingerprint.of_json({"b": [1, 2], "a": 1})
    assert fingerprint.of_json([1, 2]) != fingerprint.of_json([2, 1])
    assert fingerprint.of_json({"a": 1}) != fingerprint.of_json({"a": "1"})
    assert fingerprint.of_json("é") == fingerprint.of_json("é")


def test_image_is_known_by_its_pixels_and_size() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(2, 8, 3)
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, "PNG")
    assert fingerprint.of_image(Image.open(file)) == fingerprint.of_image(image)
    assert fingerprint.of_image(Image.fromarray(pixels.reshape(4, 4, 3))) != fingerprint.of_image(
        image
    )
    pixels[1, 7, 2] += 1
    assert fingerprint.of_image(Image.fromarray(pixels)) != fingerprint.of_image(image)


def test_directory_counts_weights_and_config_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no model"):
        fingerprint.of_directory(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "a.safetensors").write_bytes(b"1")
    first = fingerprint.of_directory(tmp_path)
    (tmp_path / "README.md").write_text("other")
    assert fingerprint.of_directory(tmp_path) == first
    (tmp_path / "a.safetensors").write_bytes(b"2")
    second = fingerprint.of_directory(tmp_path)
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    third = fingerprint.of_directory(tmp_path)
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert len({first, second, third, fingerprint.of_directory(tmp_path)}) == 4


def test_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        fingerprint.of_directory(tmp_path / "none")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_module_is_known_by_its_values(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4)
    module = nn.Sequential(nn.Linear(3, 4), norm).to(dtype)
    first = fingerprint.of_module(module)
    assert fingerprint.of_module(copy.deepcopy(module)) == first
    with torch.no_grad():
        assert norm.running_mean is not None
        norm.running_mean[0] += 1
    assert fingerprint.of_module(module) != first


def test_module_counts_type_and_shape() -> None:
    row, column = nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False)
    for module in (row, column):
        nn.init.zeros_(module.weight)
    assert fingerprint.of_module(row) != fingerprint.of_module(column)
    assert fingerprint.of_module(row) != fingerprint.of_module(copy.deepcopy(row).half())


def test_module_of_transposed_weights() -> None:
    module = nn.Linear(3, 3, bias=False)
    other = nn.Linear(3, 3, bias=False)
    other.weight = nn.Parameter(module.weight.detach().t().clone().t())  # equal, other strides
    assert fingerprint.of_module(module) == fingerprint.of_module(other)
