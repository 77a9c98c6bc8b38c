"""What cannot be loaded is refused in one line that names the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import tiny
from vqa.errors import InputError
from vqa.models.checkpoints import load


def _edited(directory: Path, file: str, change: Callable[[bytes], bytes]) -> str:
    path = directory / file
    path.write_bytes(change(path.read_bytes()))
    return str(directory)


def _dropped(directory: Path, *files: str) -> str:
    for file in files:
        (directory / file).unlink()
    return str(directory)


def _without_tensor(directory: Path) -> str:
    path = directory / "model.safetensors"
    weights = load_file(path)
    del weights["multi_modal_projector.linear_1.weight"]
    save_file(weights, path, {"format": "pt"})
    return str(directory)


def _misshapen(directory: Path) -> str:
    path = directory / "model.safetensors"
    weights = load_file(path) | {"multi_modal_projector.linear_1.weight": torch.zeros(3, 3)}
    save_file(weights, path, {"format": "pt"})
    return str(directory)


BROKEN: dict[str, tuple[Callable[[Path], str], str]] = {
    "no config": (lambda d: _dropped(d, "config.json"), "no model here"),
    "torn config": (lambda d: _edited(d, "config.json", lambda b: b[:90]), "config.json cannot"),
    "config is a list": (lambda d: _edited(d, "config.json", lambda b: b"[]"), "config.json"),
    "no weights": (lambda d: _dropped(d, "model.safetensors"), "cannot load the weights"),
    "torn weights": (
        lambda d: _edited(d, "model.safetensors", lambda b: b[: len(b) // 2]),
        "cannot load the weights",
    ),
    "empty weights": (
        lambda d: _edited(d, "model.safetensors", lambda b: b""),
        "cannot load the weights",
    ),
    "a tensor is missing": (_without_tensor, r"multi_modal_projector\.linear_1\.weight"),
    "a tensor has another shape": (_misshapen, "cannot load the weights"),
    "a pickle": (
        lambda d: str((d / "model.safetensors").rename(d / "pytorch_model.bin").parent),
        "cannot load the weights",
    ),
    "no tokenizer": (
        lambda d: _dropped(d, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
        "processor files",
    ),
    "torn tokenizer": (
        lambda d: _edited(d, "tokenizer.json", lambda b: b[:90]),
        "processor files",
    ),
    "no image processor": (lambda d: _dropped(d, "preprocessor_config.json"), "processor files"),
    "one image token short": (
        lambda d: _edited(
            d,
            "processor_config.json",
            lambda b: b.replace(
                b'num_additional_image_tokens": 1', b'num_additional_image_tokens": 0'
            ),
        ),
        "4 patch features.*3 image tokens",
    ),
    "another image token": (
        lambda d: _edited(
            d, "config.json", lambda b: b.replace(b'image_token_index": ', b'image_token_index": 1')
        ),
        "image token",
    ),
}


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_directory_is_refused_with_the_reason(defect: str, tmp_path: Path) -> None:
    breaking, reason = BROKEN[defect]
    directory = breaking(tiny.llava_1_5(tmp_path / "m", shards=1))
    with pytest.raises(InputError, match=reason) as refused:
        load(directory)
    assert "\n" not in str(refused.value)


def test_what_is_no_llava_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no model here"):
        load(str(tmp_path / "empty"))
    (tmp_path / "file").write_text("hello")
    with pytest.raises(InputError, match="no model here"):
        load(str(tmp_path / "file"))
    with pytest.raises(InputError, match="this is a llama model, not LLaVA"):
        load(str(tiny.language(tmp_path / "l")))
    with pytest.raises(InputError, match="this is a clip model, not LLaVA"):
        load(str(tiny.vision(tmp_path / "v", "clip")))
    with pytest.raises(InputError, match="no such directory"):
        load(str(tmp_path / "nowhere"))


def test_options_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    base = tiny.llava_1_5(tmp_path)
    with pytest.raises(InputError, match=r"`dtype` int4: choose auto, bfloat16"):
        load(str(base), dtype="int4")
    with pytest.raises(InputError, match=r"`quantize` 3bit: choose 4bit or 8bit"):
        load(str(base), quantize="3bit")  # type: ignore[arg-type]
    with pytest.raises(InputError):
        load(str(base), device="banana")
