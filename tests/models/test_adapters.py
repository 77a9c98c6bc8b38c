"""Adapters that others made or edited: what does not fit is refused, and nothing is left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.cli.run import refused, vqa_here
from vqa.answering import Request, SamplingParams
from vqa.engine import LocalEngine
from vqa.errors import InputError
from vqa.inputs.prompts import Message
from vqa.models.checkpoints import load, record_base


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.llava_1_5(tmp_path / "base")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    return tiny.lora(base, tmp_path / "adapter")


def rename(adapter: Path, change: Callable[[str], str]) -> None:
    path = adapter / "adapter_model.safetensors"
    save_file({change(name): value for name, value in load_file(path).items()}, path)


def configure(adapter: Path, **values: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_an_adapter_for_the_language_model_alone_is_refused(adapter: Path) -> None:
    load(str(adapter))
    rename(adapter, lambda name: name.replace("model.language_model.", "model."))
    with pytest.raises(InputError, match="no weights for layers that it names"):
        load(str(adapter))


def test_an_adapter_of_other_layers_than_it_names_is_refused(adapter: Path) -> None:
    configure(adapter, target_modules=r".*language_model.*\.v_proj")
    with pytest.raises(InputError, match="does not fit"):
        load(str(adapter))


@pytest.mark.parametrize("device", ["meta", "nowhere", "cuda:99"])
def test_a_device_that_cannot_answer_is_refused(base: Path, device: str) -> None:
    with pytest.raises(InputError, match="not a device of this machine"):
        load(str(base), device=device)


@pytest.mark.parametrize("text", ["[]", '{"peft_type": "LORA", "r": "four"}'])
def test_a_damaged_config_is_one_line(base: Path, adapter: Path, text: str) -> None:
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(InputError):
        load(str(base), adapter=str(adapter))


def test_a_base_that_is_gone_is_told_by_merge_too(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(base)
    message = refused(vqa_here(capsys, "merge", adapter, tmp_path / "out"))
    assert "no such directory" in message and not (tmp_path / "out").exists()


def test_a_copy_of_a_hubs_model_takes_what_was_trained_on_the_hubs(
    base: Path, adapter: Path
) -> None:
    record_base(adapter, "someone/model")
    load(str(base), adapter=str(adapter))
    record_base(adapter, str(base))
    other = tiny.llava_interleave(base.parent / "other")
    with pytest.raises(InputError, match="was trained on"):
        load(str(other), adapter=str(adapter))


def test_what_changes_answers_changes_the_identity(base: Path, adapter: Path) -> None:
    identities = [load(str(adapter)).identity]
    configure(adapter, lora_alpha=800)
    identities.append(load(str(adapter)).identity)
    template = base / "chat_template.json"
    template.write_text(template.read_text() + " ")
    identities.append(load(str(adapter)).identity)
    (adapter / "log.jsonl").write_text("{}\n")
    assert len(set(identities)) == 3 and load(str(adapter)).identity == identities[-1]


def test_a_tiny_temperature_is_nearly_greedy(base: Path) -> None:
    engine = LocalEngine(load(str(base), dtype="float32"))
    asked = (Message("user", "What is it?"),)
    greedy, drawn = engine.answer(
        [
            Request(asked, SamplingParams(max_new_tokens=5, temperature=temperature))
            for temperature in (0, 1e-308)
        ]
    )
    assert greedy.text == drawn.text
