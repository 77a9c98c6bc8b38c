"""The effect of attention is what changing it does, and model and engine stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface

from vqa.answering import Request, SamplingParams
from vqa.engine import LocalEngine
from vqa.engine.choice_scoring import encode_choice
from vqa.engine.prompt import ImageFingerprints, encode_request
from vqa.errors import InputError
from vqa.explain import check_answerer, explain
from vqa.explain.attention import _image_tokens, attention_effect, attention_maps, smooth
from vqa.models.checkpoints import LoadedModel

Load = Callable[..., LoadedModel]
Ask = Callable[..., Request]


@dataclass
class _Scaled:
    """Plain attention, of which a share more goes to one token from the rows behind `first`."""

    first: int
    layers: tuple[int, ...]
    at: int = 0
    more: float = 0.0

    def __call__(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **more: Any
    ) -> tuple[Tensor, None]:
        groups = query.shape[1] // key.shape[1]
        key, value = (one.repeat_interleave(groups, 1) for one in (key, value))
        scores = query @ key.transpose(2, 3) * more["scaling"] + mask
        weights = scores.softmax(-1)  # [1, heads, L, L]
        if module.layer_idx in self.layers:
            weights[:, :, self.first :, self.at] *= 1 + self.more
        return (weights @ value).transpose(1, 2), None


@pytest.mark.parametrize("kind", ["llava_1_5", "llava_interleave"])
def test_the_effect_is_what_happens(load_tiny: Load, request_of: Ask, kind: str) -> None:
    loaded, request = load_tiny(kind), request_of(2)
    prompt = encode_request(loaded.processor, request, ImageFingerprints())
    chosen = encode_choice(loaded.processor, request, prompt, "a cat")
    start, is_image = len(chosen.prompt), torch.from_numpy(chosen.prompt.is_image)
    ids = torch.tensor([*chosen.prompt.ids.tolist(), *chosen.ids])
    is_image = torch.cat([is_image, torch.zeros(len(chosen.ids), dtype=torch.bool)])
    features = _image_tokens(loaded, request.images)
    effect = attention_effect(loaded.model, ids, start, is_image, features)
    assert effect.shape == (8,) and effect.abs().max() > 1e-4

    model = loaded.model
    with torch.no_grad():
        embeds = model.get_input_embeddings()(ids)
        embeds[is_image] = features
        model.double()
        scaled = _Scaled(first=int(is_image.nonzero()[-1]) + 1, layers=(1,))  # of two
        AttentionInterface.register("scaled", scaled)
        model.model.language_model.set_attn_implementation("scaled")
        mask = torch.full((len(ids), len(ids)), -1e9, dtype=torch.float64).triu(1)

        def likely(at: int, more: float) -> float:
            scaled.at, scaled.more = at, more
            output = model.model.language_model(
                inputs_embeds=embeds[None].double(), attention_mask=mask[None, None],
                use_cache=False,
            )  # fmt: skip
            logits = model.lm_head(output.last_hidden_state[0, start - 1 : -1]).log_softmax(-1)
            return float(logits.gather(1, ids[start:, None]).sum())

        step = 3e-3  # norms compute in float32 all the same
        for value, place in zip(effect.tolist(), is_image.nonzero()[:, 0].tolist(), strict=True):
            slope = (likely(place, step) - likely(place, -step)) / (2 * step)
            assert value == pytest.approx(slope, rel=0.02, abs=0.01 * float(effect.abs().max()))


def test_a_map_is_spread_and_nothing_lies_beyond_the_edge() -> None:
    values = np.zeros((8, 8))
    values[3, 4] = 1
    spread = smooth(values)
    assert spread.argmax() == 3 * 8 + 4 and spread[3, 3] == pytest.approx(spread[2, 4])
    assert np.sqrt(spread[3, 4] / spread[3, 3]) == pytest.approx(np.exp(0.5))
    even = np.sqrt(smooth(np.ones((8, 8))))
    assert even[3, 3] == pytest.approx(1, abs=0.02) and even[0, 0] < 0.6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_engine_answers_on_as_before(load_tiny: Load, request_of: Ask, dtype: str) -> None:
    loaded = load_tiny("llava_interleave", dtype)
    engine = LocalEngine(loaded)
    request = Request(request_of(2).messages, SamplingParams(max_new_tokens=6))
    (before,) = engine.answer([request])
    explanation = explain(engine, request, "a cat", by="attention")
    assert [one.values.shape for one in explanation.maps] == [(2, 2), (2, 2)]
    assert all(np.isfinite(one.values).all() and one.values.min() >= 0 for one in explanation.maps)
    assert sum(one.values.sum() for one in explanation.maps) > 0
    engine.clear_caches()
    (after,) = engine.answer([request])
    assert (after.text, after.probability) == (before.text, before.probability)
    assert {p.dtype for p in loaded.model.parameters()} == {getattr(torch, dtype)}
    assert all(p.grad is None for p in loaded.model.parameters())


def test_a_class_token_is_no_cell(load_tiny: Load, request_of: Ask) -> None:
    loaded = load_tiny("llava_1_5")
    loaded.model.config.vision_feature_select_strategy = "full"
    loaded.processor.vision_feature_select_strategy = "full"
    (one,) = attention_maps(loaded, request_of(), "a cat")
    assert one.shape == (2, 2)


def test_what_cannot_be_explained(load_tiny: Load, request_of: Ask) -> None:
    loaded = load_tiny("llava_1_5")
    engine = LocalEngine(loaded)
    with pytest.raises(InputError, match="no picture in the conversation"):
        explain(engine, Request(request_of(0).messages), "a cat")
    with pytest.raises(InputError, match="answer is empty"):
        explain(engine, request_of(), " ")
    with pytest.raises(InputError, match="tokens; the model holds"):
        explain(engine, request_of(), "cat " * 5000)
    with pytest.raises(InputError, match="grid is 1"):
        explain(engine, request_of(), "a cat", by="occlusion", grid=1)

    class Remote:
        name = "far away"

    for by, message in (
        ("attention", "far away: its attention"),
        ("occlusion", "far away: it cannot"),
    ):
        with pytest.raises(InputError, match=message):
            check_answerer(Remote(), by)  # type: ignore[arg-type]
    loaded.model.hf_device_map = {"model": 0, "lm_head": "cpu"}
    with pytest.raises(InputError, match="spread over 2 devices"):
        check_answerer(engine, "attention")


def test_a_quantized_model_is_explained_by_occlusion_alone(
    load_tiny: Load, request_of: Ask
) -> None:
    engine = LocalEngine(load_tiny("llava_1_5", quantize="8bit"))
    with pytest.raises(InputError, match="quantized model cannot be followed"):
        explain(engine, request_of(), "a cat")
    explanation = explain(engine, request_of(), "a cat", by="occlusion", grid=2)
    assert explanation.maps[0].values.shape == (2, 2) and explanation.scores is not None


def test_an_answerer_with_a_map_of_its_own(request_of: Ask) -> None:
    class Attentive:
        name = "co-attention"

        def attention_map(self, request: Request) -> np.ndarray:
            return np.eye(3)

    explanation = explain(Attentive(), request_of(), "a cat")
    assert (explanation.maps[0].values == np.eye(3)).all()
    assert explanation.scores is None and explanation.warning is None
    first, last = explain(Attentive(), request_of(2), "a cat").maps  # it reads the last picture
    assert not first.values.any() and (last.values == np.eye(3)).all()


def test_attention_that_does_not_fit_is_refused_before_it_is_computed(
    load_tiny: Load, request_of: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_tiny("llava_1_5")
    free = type("Memory", (), {"available": 1000})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(InputError, match="or by occlusion"):
        attention_maps(loaded, request_of(1), "a cat")
