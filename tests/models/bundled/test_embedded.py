"""The embedded model, put together from tiny parts and an adapter that was made for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from tests.models.bundled import tiny_parts
from vqa.errors import InputError, VQAError
from vqa.models import llava as model
from vqa.models.bundled import conversion, embedded, parts
from vqa.models.bundled.parts import Part
from vqa.utils import checksums, fingerprint
from vqa.utils.cache import cache_dir


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Part, Part]]:
    """A folder whose cache holds tiny parts, and whose weights are an adapter on them."""
    folder = tmp_path_factory.mktemp("made")
    tiny = tiny_parts.write_parts(folder / "cache" / "wheels")
    with pytest.MonkeyPatch.context() as patch:
        _ship(patch, folder, tiny)
        _write_adapter(folder / "weights", seed=1)
    return folder, tiny


@pytest.fixture
def shipped(made: tuple[Path, tuple[Part, Part]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, as what ships and what is cached."""
    _ship(monkeypatch, *made)
    return made[0]


def _ship(patch: pytest.MonkeyPatch, folder: Path, tiny: tuple[Part, Part]) -> None:
    patch.setenv("VQA_CACHE", str(folder / "cache"))
    patch.setattr(parts, "PARTS", tiny)
    patch.setattr(parts, "WEIGHTS", folder / "weights")
    patch.setattr(conversion, "_BACKBONES", tiny_parts.BACKBONES)


@pytest.fixture
def release(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the weights of its own, to change."""
    shutil.copytree(shipped / "weights", tmp_path / "weights")
    monkeypatch.setattr(parts, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


def _write_adapter(directory: Path, seed: int) -> None:
    composed = model.compose("embedded", "embedded", dtype=torch.bfloat16)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=r"model\.language_model\..*\.(q_proj|down_proj)",
        modules_to_save=["multi_modal_projector"],
        init_lora_weights=False,
    )
    adapted = get_peft_model(composed.model, config)
    for name, parameter in adapted.named_parameters():
        if "modules_to_save" in name:
            parameter.data.normal_(std=0.02)
    adapted.to(torch.bfloat16).save_pretrained(directory)
    embedded.record_parts(directory)


def _files(directory: Path) -> dict[str, str]:
    return {path.name: fingerprint.of_file(path) for path in directory.iterdir()}


def test_merged_once_in_full_precision(shipped: Path) -> None:
    directory = embedded.model_directory()
    merged = load_file(directory / "model.safetensors")
    base = load_file(embedded.base_directory() / "model.safetensors")
    adapter = load_file(shipped / "weights" / "adapter_model.safetensors")

    def lora(which: str) -> torch.Tensor:
        factors = [v for k, v in adapter.items() if f"down_proj.lora_{which}" in k]
        return factors[0].double()

    name = next(name for name in base if name.endswith("layers.0.mlp.down_proj.weight"))
    wanted = base[name].double() + 2.0 * (lora("B") @ lora("A"))
    assert torch.equal(merged[name], wanted.bfloat16())

    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    kinds = ("down_proj.weight", "q_proj.weight", "multi_modal_projector")
    assert all(any(kind in name for kind in kinds) for name in changed)
    projector = [name for name in merged if "multi_modal_projector.linear_1.weight" in name]
    saved = [v for k, v in adapter.items() if "multi_modal_projector.linear_1.weight" in k]
    assert torch.equal(merged[projector[0]], saved[0])
    assert {tensor.dtype for tensor in merged.values()} <= {torch.bfloat16, torch.int64}


def test_it_is_a_plain_llava_directory(shipped: Path) -> None:
    directory = embedded.model_directory()
    loaded = LlavaForConditionalGeneration.from_pretrained(directory)
    processor = LlavaProcessor.from_pretrained(directory)

    assert not (directory / "adapter_config.json").exists()
    assert loaded.dtype == torch.bfloat16
    assert model.check_image_tokens(loaded, processor) > 0
    assert str(shipped) not in (directory / "config.json").read_text()


def test_made_once(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embedded.model_directory()
    monkeypatch.setattr(model, "compose", None)
    assert embedded.model_directory() == first


def test_made_again_it_is_the_same_bytes(shipped: Path) -> None:
    for make in (embedded.model_directory, embedded.base_directory):
        directory = make()
        before = _files(directory)
        shutil.rmtree(directory)
        assert make() == directory
        assert _files(directory) == before


@pytest.mark.parametrize("damage", ["zeros", "cut short", "config", "earlier version"])
def test_damaged_it_is_made_again_without_a_network(
    shipped: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    embedded.model_directory()
    shutil.copytree(cache_dir(), tmp_path / "cache")
    for name, value in tiny_parts.environment(tmp_path).items():  # pip finds nothing
        monkeypatch.setenv(name, value)
    directory = embedded.model_directory()
    before = _files(directory)
    file = directory / ("config.json" if damage == "config" else "model.safetensors")
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        if damage == "cut short":
            stream.truncate()
        elif damage == "config":
            stream.write(bytes(10))
        else:
            stream.write(bytes(8192))
    if damage == "earlier version":
        (directory / checksums.RECORD).unlink()
    capfd.readouterr()

    assert embedded.model_directory() == directory

    assert _files(directory) == before
    assert f"vqa: {file} is damaged" in capfd.readouterr().err


def test_another_release_is_made_anew(release: Path) -> None:
    first = embedded.model_directory()
    shutil.rmtree(release)
    _write_adapter(release, seed=2)
    second = embedded.model_directory()
    assert first != second
    assert _files(first)["model.safetensors"] != _files(second)["model.safetensors"]


def test_without_weights_the_parts_are_still_there(release: Path) -> None:
    shutil.rmtree(release)
    with pytest.raises(InputError, match="no trained weights ship with this build"):
        embedded.model_directory()
    assert embedded.base_directory().is_dir()
    assert embedded.part_directory("language").is_dir()


@pytest.mark.parametrize("kind", ["vision", "language"])
def test_another_base_is_refused(release: Path, kind: str) -> None:
    record = json.loads((release / "vqa.json").read_text())
    recorded = record["base"][kind]
    record["base"][kind] = "0123456789abcdef"
    (release / "vqa.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"{kind}.*0123456789abcdef.*{recorded}"):
        embedded.model_directory()


def test_a_part_that_was_changed_is_refused(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cache_dir() / "parts", tmp_path / "cache" / "parts")
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    file = parts.converted_path(parts.find_part("language")) / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(VQAError, match=f"{file} is damaged.*vqa models fetch"):
        embedded.model_directory()
    checksums.record_checksums(file.parent)  # as of a library that converts otherwise
    with pytest.raises(InputError, match=f"language.*{file.parent}"):
        embedded.model_directory()


def test_record_of_something_else_is_refused(release: Path) -> None:
    (release / "vqa.json").write_text(json.dumps({"base": "runs/pretrain"}))
    with pytest.raises(InputError, match=r"vqa\.json"):
        embedded.model_directory()


@pytest.mark.weights
def test_the_real_parts_are_those_that_were_trained_on() -> None:
    recorded = json.loads((parts.WEIGHTS / "vqa.json").read_text())["base"]
    assert embedded.part_fingerprints() == recorded


@pytest.mark.weights
def test_the_real_parts_compose() -> None:
    directory = embedded.base_directory()
    loaded = LlavaForConditionalGeneration.from_pretrained(directory)
    processor = LlavaProcessor.from_pretrained(directory)
    assert model.check_image_tokens(loaded, processor) == 64


def test_a_run_ships_in_half_its_size(release: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(release, run)
    name = "adapter_model.safetensors"
    before = load_file(run / name)
    save_file({key: value.float() for key, value in before.items()}, run / name)
    (release / name).unlink()
    embedded.ship(run)
    after = load_file(release / name)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert after.keys() == before.keys()
    assert embedded.model_directory().is_dir()
