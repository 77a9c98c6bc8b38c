"""Forward pass of language models of the Llama kind, with few operations for each token.

The same computation as `LlamaModel` and its relatives in transformers, without what serves
training, other caches and other devices: at one token a step, calling that costs as much as the
arithmetic.
Queries, keys and values are one product, and so are the two halves of the gated layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqa.engine.keys_values import KeyValues

_KINDS = {"llama", "mistral", "qwen2", "qwen3"}


@dataclass(frozen=True)
class _Linear:
    weight: Tensor  # [out, in]
    bias: Tensor | None  # [out]


@dataclass(frozen=True)
class _Layer:
    norm: Tensor  # [Dt]
    qkv: _Linear
    head_norm: Tensor | None  # [Hq + Hk, 1, D]: Qwen3 normalises each head
    out: _Linear
    mlp_norm: Tensor  # [Dt]
    gate_up: _Linear
    down: _Linear


class LlamaForward:
    """A text model of transformers with its weights joined; the model works on, with views of them.

    Whoever moves or converts the model afterwards has to make a new one.
    """

    def __init__(self, text_model: Any) -> None:
        config = text_model.config
        first = text_model.layers[0]
        self._layers = [_layer(layer) for layer in text_model.layers]
        self._norm: Tensor = text_model.norm.weight.detach()
        self._eps: float = first.input_layernorm.variance_epsilon
        self._rotary: Any = text_model.rotary_emb
        self._act: Callable[[Tensor], Tensor] = first.mlp.act_fn
        self._scale: float = first.self_attn.scaling
        self._head_size: int = first.self_attn.head_dim
        self._queries: int = config.num_attention_heads
        self._keys: int = config.num_key_value_heads

    @classmethod
    def of(cls, text_model: Any) -> LlamaForward | None:
        """Take a text model if this forward pass is its own; None for all others."""
        return cls(text_model) if _fits(text_model) else None

    def __call__(
        self, hidden: Tensor, cache: KeyValues, positions: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Run [B, n, Dt] at `positions` [B or 1, n]; the last slot's normalised state [B, Dt].

        `mask` [B or 1, 1, n, length] is true where a slot may look; without it, all slots before.
        """
        cos, sin = self._rotary(hidden, positions)  # [B, n, D]
        half = self._head_size // 2
        # rotate_half(x) * sin = swap(x) * signed: the sign of the first half moves to the sine
        signed = torch.cat((-sin[..., :half], sin[..., half:]), -1)[:, None]  # [B, 1, n, D]
        cos = cos[:, None]
        for layer, held in zip(self._layers, cache.layers, strict=True):
            normed = F.rms_norm(hidden, self._norm.shape, layer.norm, self._eps)
            attended = self._attend(layer, normed, held, cos, signed, mask)
            hidden = hidden + F.linear(attended, layer.out.weight, layer.out.bias)
            normed = F.rms_norm(hidden, self._norm.shape, layer.mlp_norm, self._eps)
            gate, up = F.linear(normed, layer.gate_up.weight, layer.gate_up.bias).chunk(2, -1)
            hidden = hidden + F.linear(self._act(gate) * up, layer.down.weight, layer.down.bias)
        return F.rms_norm(hidden[:, -1], self._norm.shape, self._norm, self._eps)

    def _attend(
        self,
        layer: _Layer,
        normed: Tensor,
        held: Any,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        batch, new, _ = normed.shape
        queries, keys, size = self._queries, self._keys, self._head_size
        joined = F.linear(normed, layer.qkv.weight, layer.qkv.bias)
        heads = joined.view(batch, new, -1, size).transpose(1, 2)  # [B, Hq + 2 Hk, n, D]
        turned = heads[:, : queries + keys]  # queries and keys together
        if layer.head_norm is not None:
            turned = F.rms_norm(turned, (size,), None, self._eps) * layer.head_norm
        swapped = torch.cat((turned[..., size // 2 :], turned[..., : size // 2]), -1)
        turned = torch.addcmul(turned * cos, swapped, sin)
        key, value = held.update(turned[:, queries:], heads[:, queries + keys :])  # [B, Hk, L, D]
        query = turned[:, :queries]
        groups = queries // keys
        if new == 1:
            # the queries that share a key head stand as rows under it: nothing is repeated
            packed = query.reshape(batch, keys, groups, size)
            found = F.scaled_dot_product_attention(packed, key, value, mask, scale=self._scale)
            return found.reshape(batch, 1, queries * size)
        found = F.scaled_dot_product_attention(
            query,
            key.repeat_interleave(groups, 1) if groups > 1 else key,
            value.repeat_interleave(groups, 1) if groups > 1 else value,
            mask,
            is_causal=mask is None,
            scale=self._scale,
        )  # [B, Hq, n, D]
        return found.transpose(1, 2).reshape(batch, new, queries * size)


def _fits(text_model: Any) -> bool:
    """Whether all is as this file computes it: kind, no window, plain layers on one device."""
    config = text_model.config
    kinds = getattr(config, "layer_types", None)
    windowed = getattr(config, "sliding_window", None) if kinds is None else None
    if config.model_type not in _KINDS or windowed or set(kinds or ()) - {"full_attention"}:
        return False
    modules = [*text_model.modules()]
    if any(isinstance(m, nn.Linear) and type(m) is not nn.Linear for m in modules):
        return False
    if any(m._forward_hooks or m._forward_pre_hooks or hasattr(m, "_hf_hook") for m in modules):
        return False
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    for layer in text_model.layers:
        parts = {**layer.self_attn._modules, **layer.mlp._modules}
        if any(type(parts.get(name)) is not nn.Linear for name in names):
            return False  # quantized, or with an adapter beside it
    weights = [*text_model.parameters()]
    return len({(weight.device, weight.dtype) for weight in weights}) == 1


def _layer(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    head_norm = None
    if hasattr(attention, "q_norm"):
        query, key = attention.q_norm.weight.detach(), attention.k_norm.weight.detach()
        counts = (
            attention.q_proj.out_features // len(query),
            attention.k_proj.out_features // len(key),
        )
        head_norm = torch.cat((query.expand(counts[0], -1), key.expand(counts[1], -1)))[:, None]
    return _Layer(
        norm=layer.input_layernorm.weight.detach(),
        qkv=_join((attention.q_proj, attention.k_proj, attention.v_proj)),
        head_norm=head_norm,
        out=_join((attention.o_proj,)),
        mlp_norm=layer.post_attention_layernorm.weight.detach(),
        gate_up=_join((mlp.gate_proj, mlp.up_proj)),
        down=_join((mlp.down_proj,)),
    )


@torch.no_grad()
def _join(parts: Sequence[nn.Linear]) -> _Linear:
    """Stack the weights of layers that share an input; each one's own becomes a view of all."""
    if len(parts) == 1:
        only = parts[0]
        return _Linear(only.weight.detach(), None if only.bias is None else only.bias.detach())
    weight = torch.cat([part.weight for part in parts])
    for part, rows in zip(parts, weight.split([len(p.weight) for p in parts]), strict=True):
        part.weight.data = rows
    biases = [part.bias for part in parts if part.bias is not None]
    if biases and len(biases) < len(parts):
        biases = [torch.zeros_like(p.weight[:, 0]) if p.bias is None else p.bias for p in parts]
    return _Linear(weight, torch.cat([bias.detach() for bias in biases]) if biases else None)
