"""Checkpoints in the hub's layouts, round trips, adapters and quantization."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from tests import tiny
from vqa.engine import LocalEngine
from vqa.errors import InputError
from vqa.inputs.prompts import Message, encode, tokens_per_image
from vqa.models import checkpoints
from vqa.models.checkpoints import (
    LoadedModel,
    base_of,
    is_adapter,
    load,
    record_base,
    save,
)
from vqa.models.llava import compose
from vqa.models.weights import _device_map

PICTURE = Image.new("RGB", (50, 40), (30, 200, 30))
LAYOUTS = {"llava-1.5": tiny.llava_1_5, "llava-interleave": tiny.llava_interleave}


def inputs(
    processor: LlavaProcessor, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    messages = [Message("user", "What is it?", (PICTURE,))]
    ids = encode(processor, messages, add_generation_prompt=True).input_ids
    pixels = processor.image_processor(PICTURE, return_tensors="pt")["pixel_values"]
    return {"input_ids": torch.tensor([ids]), "pixel_values": pixels}


def logits_of(model: Any, given: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        logits = model.eval()(**given).logits
    assert isinstance(logits, torch.Tensor)
    return logits


def stored(directory: Path) -> dict[str, torch.Tensor]:
    return {
        name: value
        for file in sorted(directory.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def _new_name(name: str) -> str:
    """What today's transformers calls a tensor of an old file."""
    name = name.replace("language_model.lm_head.", "lm_head.")
    name = name.replace("language_model.model.", "model.language_model.")
    for part in ("vision_tower.", "multi_modal_projector."):
        name = f"model.{name}" if name.startswith(part) else name
    return name


@pytest.mark.parametrize("names", ["old", "new"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_hub_layouts_load_unchanged(layout: str, names: tiny.Names, tmp_path: Path) -> None:
    directory = LAYOUTS[layout](tmp_path / "m", names)
    files = stored(directory)
    assert any(name.startswith("language_model.model.") for name in files) == (names == "old")
    loaded = load(str(directory), device="cpu", dtype="float32")
    state = loaded.model.state_dict()
    for name, value in files.items():
        new = _new_name(name)
        tensor = state.get(
            new, state.get(new.replace("vision_tower.vision_model.", "vision_tower."))
        )
        assert tensor is not None and torch.equal(tensor, value.float()), name
    tied = {"lm_head.weight"} if layout == "llava-interleave" else set()
    assert len(state) == len(files) + len(tied)

    given = inputs(loaded.processor)
    count = int((given["input_ids"] == loaded.model.config.image_token_id).sum())
    assert count == tokens_per_image(loaded.processor) == 4
    with torch.no_grad():
        out = loaded.model.generate(**given, max_new_tokens=3, do_sample=False)
    assert out.shape[1] > given["input_ids"].shape[1]
    plain = LlavaForConditionalGeneration.from_pretrained(directory, dtype=torch.float32)
    torch.testing.assert_close(logits_of(loaded.model, given), logits_of(plain, given))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_old_and_new_names_are_the_same_model(layout: str, tmp_path: Path) -> None:
    old = load(str(LAYOUTS[layout](tmp_path / "old", "old")), dtype="float32")
    new = load(str(LAYOUTS[layout](tmp_path / "new", "new")), dtype="float32")
    assert torch.equal(
        logits_of(old.model, inputs(old.processor)), logits_of(new.model, inputs(new.processor))
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_hubs_chat_template_and_tokenizer_are_used(layout: str, tmp_path: Path) -> None:
    processor = load(str(LAYOUTS[layout](tmp_path / "m"))).processor
    messages = [Message("user", "What?\nSay it.", (PICTURE,))]
    got = encode(processor, messages, add_generation_prompt=True)
    content = [{"type": "image", "image": PICTURE}, {"type": "text", "text": "What?\nSay it."}]
    expected = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    assert got.input_ids == list(expected["input_ids"][0])


def _composed(directory: Path, vision: str = "clip") -> Path:
    parts = directory.parent / f"{directory.name}-parts"
    if vision.startswith("test_"):
        tower = tiny.timm_vision(parts / "v", vision, 96, (1,))
    else:
        tower = tiny.vision(parts / "v", vision)
    composed = compose(tower, tiny.language(parts / "l"))
    composed.model.save_pretrained(directory)
    composed.processor.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("kind", [*LAYOUTS, "clip", "test_efficientnet", "test_vit_relpos"])
def test_saved_is_a_plain_directory_with_the_same_model(kind: str, tmp_path: Path) -> None:
    make = LAYOUTS.get(kind) or (lambda directory: _composed(directory, kind))
    loaded = load(str(make(tmp_path / "m")), dtype="float32")
    save(loaded, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.bin"))
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out")
    processor = LlavaProcessor.from_pretrained(tmp_path / "out")
    given, again = inputs(loaded.processor), inputs(processor)
    assert all(torch.equal(again[name], value) for name, value in given.items())
    torch.testing.assert_close(logits_of(model, again), logits_of(loaded.model, given))
    twice = load(str(tmp_path / "out"))
    torch.testing.assert_close(logits_of(twice.model, given), logits_of(model, given))


def test_the_fingerprint_is_that_of_the_weights(tmp_path: Path) -> None:
    first, second = tiny.llava_1_5(tmp_path / "a"), tiny.llava_1_5(tmp_path / "b")
    assert load(str(first)).fingerprint == load(str(second)).fingerprint
    path = next(second.glob("*.safetensors"))
    weights = load_file(path)
    name = sorted(weights)[0]
    save_file({**weights, name: weights[name] + 1}, path, {"format": "pt"})
    assert load(str(first)).fingerprint != load(str(second)).fingerprint
    identities = {load(str(first), dtype=name).identity for name in ("float32", "bfloat16")}
    assert (
        len(identities) == 2
        and LocalEngine(load(str(first), dtype="float32")).identity in identities
    )


def _adapter(base: Path, directory: Path, seed: int = 0) -> Path:
    """Train nothing, but make every weight of a LoRA with projector count, and save it."""
    model = load(str(base), dtype="float32").model
    torch.manual_seed(seed)
    config = LoraConfig(
        r=2,
        target_modules=r".*language_model.*\.(q_proj|v_proj|down_proj)",
        modules_to_save=["multi_modal_projector"],
    )
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(directory)
    return directory


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return _composed(tmp_path / "base")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    return _adapter(base, tmp_path / "adapter")


def test_a_hub_id_is_another_model_behind_another_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--somebody--model"

    def identity(commit: str) -> str:
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}")
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
        return checkpoints._identity("somebody/model")

    assert checkpoints._identity("somebody/model") == "somebody/model"  # not fetched
    assert identity("a" * 40) == "somebody/model@" + "a" * 40
    assert identity("b" * 40) == "somebody/model@" + "b" * 40


def test_an_adapter_is_merged_into_its_base(base: Path, adapter: Path) -> None:
    from peft import PeftModel

    assert is_adapter(str(adapter)) and not is_adapter(str(base))
    assert base_of(str(adapter)) == str(base)
    plain = load(str(base))
    alone = load(str(adapter))
    named = load(str(base), adapter=str(adapter))
    given = inputs(plain.processor)
    applied = PeftModel.from_pretrained(load(str(base)).model, str(adapter))
    expected = logits_of(applied, given)
    torch.testing.assert_close(logits_of(alone.model, given), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits_of(named.model, given), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits_of(plain.model, given), expected, atol=1e-2)
    assert set(alone.model.state_dict()) == set(plain.model.state_dict())
    assert alone.fingerprint == named.fingerprint != plain.fingerprint
    assert alone.name == str(adapter)


def test_a_merged_adapter_saves_as_a_plain_model(adapter: Path, tmp_path: Path) -> None:
    merged = load(str(adapter))
    save(merged, tmp_path / "merged")
    again = load(str(tmp_path / "merged"))
    given = inputs(merged.processor)
    assert torch.equal(logits_of(again.model, given), logits_of(merged.model, given))


def test_merging_in_bfloat16_rounds_once(base: Path, adapter: Path) -> None:
    exact, half = load(str(adapter)), load(str(adapter), dtype="bfloat16")
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    for (name, want), got in zip(
        exact.model.named_parameters(), half.model.parameters(), strict=True
    ):
        # the base is rounded when it is loaded, and the sum once more
        torch.testing.assert_close(got.float(), want, atol=2**-8, rtol=2**-7, msg=name)


def test_an_adapter_refuses_any_other_base(base: Path, adapter: Path, tmp_path: Path) -> None:
    record_base(adapter, str(base))
    load(str(adapter))
    other = tmp_path / "other"
    shutil.copytree(base, other)
    load(str(other), adapter=str(adapter))  # the same weights elsewhere
    weights = load_file(other / "model.safetensors")
    name = sorted(weights)[0]
    weights[name] = weights[name] + 1
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"was trained on .* but .*other.* here is"):
        load(str(other), adapter=str(adapter))


def test_adapters_that_do_not_fit_are_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adapter here"):
        load(str(base), adapter=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="does not fit"):
        load(str(base), adapter=str(_widened(adapter, tmp_path / "widened")))
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "base_model_name_or_path": None}))
    with pytest.raises(InputError, match="names no base model"):
        load(str(adapter))
    path.write_text("{")
    with pytest.raises(InputError, match=r"adapter_config\.json: cannot be read"):
        load(str(adapter))
    (adapter / "adapter_model.safetensors").write_bytes(b"torn")
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="does not fit"):
        load(str(adapter))


def _widened(adapter: Path, copy: Path) -> Path:
    """An adapter of a model whose layers are twice as wide."""
    shutil.copytree(adapter, copy)
    file = copy / "adapter_model.safetensors"
    wide = {name: torch.cat([value, value], dim=-1) for name, value in load_file(file).items()}
    save_file(wide, file, {"format": "pt"})
    return copy


def _quantized(model: torch.nn.Module) -> set[str]:
    return {
        name
        for name, module in model.named_modules()
        if type(module).__name__ in ("Linear4bit", "Linear8bitLt")
    }


_LAYERS = {
    f"model.language_model.layers.{layer}.{name}"
    for layer in (0, 1)
    for name in (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    )
}


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
@pytest.mark.parametrize("kind", [*LAYOUTS, "clip", "test_vit"])
def test_quantized_is_the_language_model_alone(kind: str, bits: Any, tmp_path: Path) -> None:
    make = LAYOUTS.get(kind) or (lambda directory: _composed(directory, kind))
    directory = str(make(tmp_path / "m"))
    loaded = load(directory, quantize=bits, dtype="float32")
    assert _quantized(loaded.model) == _LAYERS
    full = load(directory, dtype="float32")
    given = inputs(loaded.processor)
    difference = (logits_of(loaded.model, given) - logits_of(full.model, given)).abs().max()
    assert 0 < difference < 0.5 * logits_of(full.model, given).abs().max()
    for name, value in full.model.model.vision_tower.state_dict().items():
        assert torch.equal(loaded.model.model.vision_tower.state_dict()[name], value), name


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_an_adapter_stays_beside_quantized_weights(base: Path, adapter: Path, bits: Any) -> None:
    loaded = load(str(adapter), quantize=bits)
    assert any("lora_A" in name for name, _ in loaded.model.named_parameters())
    given = inputs(loaded.processor)
    trained, merged = logits_of(loaded.model, given), logits_of(load(str(adapter)).model, given)
    without = logits_of(load(str(base), quantize=bits).model, given)
    assert (trained - merged).abs().mean() < (trained - without).abs().mean()


def test_the_report_is_of_the_loaded_model(base: Path) -> None:
    loaded: LoadedModel = load(str(base))
    assert [row.name for row in loaded.report] == [
        "vision_tower",
        "multi_modal_projector",
        "language_model",
        "lm_head",
    ]
    assert sum(row.parameters for row in loaded.report) == sum(
        p.numel() for p in loaded.model.parameters()
    )
    assert not loaded.model.training


@pytest.mark.parametrize("layout", LAYOUTS)
def test_directories_without_a_processor_config_load_too(layout: str, tmp_path: Path) -> None:
    """Transformers wrote none before it counted image tokens in the processor."""
    whole, older = LAYOUTS[layout](tmp_path / "a"), LAYOUTS[layout](tmp_path / "b")
    (older / "processor_config.json").unlink()
    expected = inputs(load(str(whole)).processor)["input_ids"]
    assert torch.equal(inputs(load(str(older)).processor)["input_ids"], expected)


@pytest.mark.parametrize(
    ("there", "device", "quantize", "place"),
    [
        ("cpu", "auto", None, None),
        ("cpu", "cpu", None, {"": torch.device("cpu")}),
        ("mps", "auto", None, {"": torch.device("mps")}),
        ("cuda", "auto", None, "auto"),
        ("mps", "auto", "8bit", "auto"),
    ],
)
def test_weights_go_to_the_accelerator_that_is_there(
    monkeypatch: pytest.MonkeyPatch, there: str, device: str, quantize: Any, place: Any
) -> None:
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator",
        lambda check_available: None if there == "cpu" else torch.device(there),
    )  # fmt: skip
    assert _device_map(device, quantize) == place
