"""The short forward pass computes what transformers computes, and is used where it may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlavaForConditionalGeneration

from tests.engine.test_engine import ask, generate
from vqa.engine import LocalEngine
from vqa.engine.kv_cache import KVCache
from vqa.engine.llama import LlamaForward
from vqa.engine.text_model import TextModel
from vqa.models.adapters import unwrap
from vqa.models.checkpoints import LoadedModel, load

Load = Callable[..., LoadedModel]


@pytest.mark.parametrize("kind", ("llava_1_5", "llava_interleave", "qwen3", "mistral"))
def test_it_equals_transformers(kind: str, load_tiny: Load) -> None:
    model = load_tiny(kind).model.model.language_model
    torch.manual_seed(0)
    embeds = torch.randn(2, 11, 64)
    with torch.no_grad():
        for layer in model.layers:  # norms of one and biases of zero would prove nothing
            for weight in layer.parameters():
                if weight.ndim == 1:
                    weight.normal_(0.5)
        expected = model(inputs_embeds=embeds).last_hidden_state
        forward = LlamaForward.of(model)
        assert forward is not None
        cache = KVCache(model.config.num_hidden_layers, 2)
        for start, end in ((0, 6), (6, 7), (7, 11)):
            got = forward(embeds[:, start:end], cache, [end - start] * 2)
            torch.testing.assert_close(got, expected[:, end - 1], rtol=1e-4, atol=1e-5)
        # and the model itself still computes the same, with weights that are views now
        torch.testing.assert_close(model(inputs_embeds=embeds).last_hidden_state, expected)


def test_a_model_saved_after_it_is_the_model_loaded_before(load_tiny: Load, tmp_path: Path) -> None:
    loaded = load_tiny()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    LocalEngine(loaded)
    loaded.model.save_pretrained(tmp_path)
    after = LlavaForConditionalGeneration.from_pretrained(tmp_path).state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("kind", ("gemma2", "phi3"))
def test_other_kinds_are_left_to_transformers(kind: str, load_tiny: Load) -> None:
    assert LlamaForward.of(load_tiny(kind).model.model.language_model) is None


def test_windows_and_hooks_are_left_to_transformers(load_tiny: Load) -> None:
    model = load_tiny().model.model.language_model
    handle = model.layers[0].register_forward_hook(lambda *_: None)
    assert LlamaForward.of(model) is None
    handle.remove()
    model.config.layer_types = ["full_attention", "sliding_attention"]
    assert LlamaForward.of(model) is None
    model.config.layer_types = None
    assert LlamaForward.of(model) is not None


def test_adapters_are_called(load_tiny: Load) -> None:
    loaded = load_tiny()
    request = ask("what is it?")
    plain, _ = generate(loaded, request)
    target = r"model\.language_model\..*\.(q|v|down)_proj"
    adapted = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=target))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 1)
    with_adapter = LoadedModel(unwrap(adapted), loaded.processor, "a", "b", ())
    ids, probability = generate(with_adapter, request)
    assert ids != plain
    answer = LocalEngine(with_adapter).answer([request])[0]
    assert answer.probability == pytest.approx(probability, rel=1e-3)


@pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(), reason="other CPUs have other products"
)
@pytest.mark.parametrize("kind", ("llava_1_5", "llava_interleave", "qwen3"))
def test_a_prompt_is_in_any_batch_what_transformers_computes(kind: str, load_tiny: Load) -> None:
    model = load_tiny(kind, "bfloat16").model.model.language_model
    forward = LlamaForward.of(model)
    assert forward is not None
    layers = model.config.num_hidden_layers
    torch.manual_seed(0)
    embeds = torch.randn(6, 131, 64, dtype=torch.bfloat16)
    lengths = [99, 3, 131, 41, 98, 65]
    with torch.inference_mode():
        batch = forward(embeds, KVCache(layers, 6), lengths)
        for row, length in enumerate(lengths):
            alone = embeds[row : row + 1, :length]
            assert torch.equal(forward(alone, KVCache(layers, 1), [length])[0], batch[row])
            plain = model(inputs_embeds=alone, use_cache=False).last_hidden_state[0, -1]
            assert torch.equal(plain, batch[row])
            for at in {1, length // 2, length - 2}:  # a cached beginning: nearly the same
                cut = KVCache(layers, 1)
                forward(alone[:, :at], cut, [at])
                state = forward(alone[:, at:], cut, [length - at])[0]
                assert torch.nn.functional.cosine_similarity(state, plain, 0) > 0.99


@pytest.mark.parametrize("bits", ("4bit", "8bit"))
def test_quantized_models_answer(bits: str, directory_of: Callable[[str], Path]) -> None:
    loaded = load(str(directory_of("llava_1_5")), quantize=bits)  # type: ignore[arg-type]
    layers = loaded.model.model.language_model.layers
    assert type(layers[0].self_attn.q_proj) is not nn.Linear
    ids, probability = generate(loaded, ask("what is it?"))
    answer = LocalEngine(loaded).answer([ask("what is it?")])[0]
    assert answer.new_tokens == len(ids)
    assert answer.probability == pytest.approx(probability, rel=0.05)


def test_decoding_in_bfloat16_turns_onednn_off_and_on(load_tiny: Load) -> None:
    loaded = load_tiny(dtype="bfloat16")
    states: list[bool] = []

    def note(*_: object) -> None:
        states.append(bool(torch.backends.mkldnn.enabled))

    loaded.model.model.language_model.norm.register_forward_hook(note)
    text = TextModel(loaded.model)
    one = torch.randn(1, 1, 64, dtype=torch.bfloat16)
    text.forward(one, KVCache(text.layers, 1), [1])
    text.forward(one.expand(1, 2, 64), KVCache(text.layers, 1), [2])
    assert states == [False, True]
    with pytest.raises(RuntimeError):
        text.forward(one[..., :3], KVCache(text.layers, 1), [1])
    assert torch.backends.mkldnn.enabled
