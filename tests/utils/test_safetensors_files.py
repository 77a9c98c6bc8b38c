"""Reading safetensors headers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vqa.errors import InputError
from vqa.utils.safetensors_files import fingerprint_of_tensors, stored_tensors

TENSORS = {
    "b": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3),
    "a": torch.tensor(1.5),
    "empty": torch.zeros(0, 4),
}


def test_lists_names_types_shapes_and_places(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file(TENSORS, file, metadata={"format": "pt"})
    tensors = {tensor.name: tensor for tensor in stored_tensors(file)}

    assert list(tensors) == ["a", "b", "empty"]
    assert (tensors["b"].dtype, tensors["b"].shape, tensors["b"].parameters) == ("BF16", (2, 3), 6)
    assert (tensors["a"].dtype, tensors["a"].shape, tensors["a"].parameters) == ("F32", (), 1)
    assert tensors["empty"].parameters == 0
    data = file.read_bytes()[tensors["b"].start : tensors["b"].end]
    assert data == TENSORS["b"].view(torch.uint8).numpy().tobytes()


def test_fingerprint_is_of_the_tensors_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    save_file(TENSORS, first)
    save_file(dict(reversed(TENSORS.items())), second, metadata={"made": "elsewhere"})
    assert first.read_bytes() != second.read_bytes()
    assert fingerprint_of_tensors(first) == fingerprint_of_tensors(second)


@pytest.mark.parametrize(
    "change",
    [
        {"a": torch.tensor(1.25)},
        {"a": torch.tensor([1.5])},
        {"a": torch.tensor(1.5).double()},
        {"c": torch.tensor(1.5)},
    ],
)
def test_fingerprint_tells_others_apart(tmp_path: Path, change: dict[str, torch.Tensor]) -> None:
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    save_file(TENSORS, first)
    save_file({**TENSORS, **change}, second)
    assert fingerprint_of_tensors(first) != fingerprint_of_tensors(second)


@pytest.mark.parametrize("cut", [0, 4, 40, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "x.safetensors"
    save_file(TENSORS, file)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"x\.safetensors"):
        stored_tensors(file)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 64,
        b"\x02\0\0\0\0\0\0\0[]",
        b'\x0a\0\0\0\0\0\0\0{"a": 1}  ',
        b"PK\x03\x04 a zip, not this",
    ],
)
def test_another_file_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(data)
    with pytest.raises(InputError, match="not a safetensors file"):
        stored_tensors(file)


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        stored_tensors(tmp_path / "none.safetensors")
