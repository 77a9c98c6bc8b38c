"""Forward pass of language models of the Llama kind, with few operations for each token.

The same computation as `LlamaModel` and its relatives in transformers, without what serves
training, other caches and other devices: at one token a step, calling that costs as much as the
arithmetic. Queries, keys and values are one product, and so are the two halves of the gated layer.

Values are rounded where transformers rounds them, and attention sees of each row just the slots
that it has filled. On a CPU a prompt in bfloat16 therefore gets, bit by bit, what transformers
computes for it, in any batch. Otherwise answers would differ wherever two tokens are nearly as
likely. (Behind a cached beginning, and in products of one row, some last bits still do.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqa.engine.kv_cache import GrowingLayer, KVCache

_KINDS = {"llama", "mistral", "qwen2", "qwen3"}

_Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Layer:
    norm: Tensor  # [Dt]
    qkv: _Product  # Dt -> (Hq + 2 Hk) D
    head_norm: Tensor | None  # [Hq + Hk, 1, D]: Qwen3 normalises each head
    out: _Product
    mlp_norm: Tensor  # [Dt]
    gate_up: _Product  # Dt -> 2 * inner
    down: _Product


@dataclass(frozen=True)
class _RowGroup:
    """Rows next to each other that have filled equally many slots and get equally many."""

    rows: slice
    first: int  # the first new slot
    end: int  # behind the last
    mask: Tensor | None  # [new, end] added to the scores; None: everything, or causal

    @property
    def new(self) -> int:
        return self.end - self.first


@dataclass(frozen=True)
class _Step:
    """What all layers share in one run of n new tokens for each row."""

    cos: Tensor  # [B, 1, n, D]
    sin: Tensor  # [B, 1, n, D], negative in its first half
    groups: Sequence[_RowGroup]


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
        self._act: _Product = first.mlp.act_fn
        self._scale: float = first.self_attn.scaling
        self._head_size: int = first.self_attn.head_dim
        self._queries: int = config.num_attention_heads
        self._keys: int = config.num_key_value_heads

    @classmethod
    def of(cls, text_model: Any) -> LlamaForward | None:
        """Wrap a text model that this forward pass computes; None for all others."""
        return cls(text_model) if _fits(text_model) else None

    def __call__(self, hidden: Tensor, cache: KVCache, new: Sequence[int]) -> Tensor:
        """Run the first `new[i]` of n embeddings of each row [B, n, Dt], behind what `cache` holds.

        Returns the normalised state of each row's last token [B, Dt]. What stands behind a row's
        new tokens runs too, and nothing attends to it.
        """
        hidden = self._run(hidden, cache, new)
        return self._final_norm(hidden[range(len(new)), [count - 1 for count in new]])

    def states(self, hidden: Tensor, cache: KVCache, new: Sequence[int]) -> Tensor:
        """Run the same, and return the normalised states of all tokens [B, n, Dt]."""
        return self._final_norm(self._run(hidden, cache, new))

    def _final_norm(self, hidden: Tensor) -> Tensor:
        return self._rms_norm(hidden, self._norm)

    def _rms_norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(hidden, weight.shape, None, self._eps) * weight

    def _run(self, hidden: Tensor, cache: KVCache, new: Sequence[int]) -> Tensor:
        step = self._step(hidden, cache, new)
        for layer, cached in zip(self._layers, cache.layers, strict=True):
            normed = self._rms_norm(hidden, layer.norm)
            hidden = hidden + layer.out(self._attend(layer, normed, cached, step))
            normed = self._rms_norm(hidden, layer.mlp_norm)
            gate, up = layer.gate_up(normed).chunk(2, -1)
            hidden = hidden + layer.down(self._act(gate) * up)
        cache.lengths = [old + more for old, more in zip(cache.lengths, new, strict=True)]
        return hidden

    def _step(self, hidden: Tensor, cache: KVCache, new: Sequence[int]) -> _Step:
        batch, length, _ = hidden.shape
        slots = torch.arange(length, device=hidden.device)[None]  # [1, n]
        slots = slots + torch.tensor(cache.lengths, device=hidden.device)[:, None]  # [B, n]
        cos, sin = self._rotary(hidden, slots)  # [B, n, D]; positions are slots
        half = self._head_size // 2
        # rotate_half(x) * sin = swap(x) * signed: the sign of the first half moves to the sine
        signed = torch.cat((-sin[..., :half], sin[..., half:]), -1)
        groups = _groups(cache.lengths, new, hidden)
        like = hidden.new_empty(1, self._keys, 0, self._head_size)
        for layer in cache.layers:
            layer.reserve(batch, max(group.end for group in groups), like)
        return _Step(cos[:, None], signed[:, None], groups)

    def _attend(self, layer: _Layer, normed: Tensor, cached: GrowingLayer, step: _Step) -> Tensor:
        batch, length, _ = normed.shape
        queries, keys, size = self._queries, self._keys, self._head_size
        heads = layer.qkv(normed).view(batch, length, -1, size).transpose(1, 2)
        rotated = heads[:, : queries + keys]  # queries and keys together [B, Hq + Hk, n, D]
        if layer.head_norm is not None:
            rotated = F.rms_norm(rotated, (size,), None, self._eps) * layer.head_norm
        swapped = torch.cat((rotated[..., size // 2 :], rotated[..., : size // 2]), -1)
        rotated = rotated * step.cos + swapped * step.sin
        query, key, value = rotated[:, :queries], rotated[:, queries:], heads[:, queries + keys :]
        if len(step.groups) == 1 and step.groups[0].new == length:
            return self._attend_group(query, key, value, cached, step.groups[0])
        output = normed.new_zeros(
            batch, length, queries * size
        )  # behind a row's new tokens: nothing
        for group in step.groups:
            part = group.rows, slice(None), slice(group.new)
            output[group.rows, part[2]] = self._attend_group(
                query[part], key[part], value[part], cached, group
            )
        return output

    def _attend_group(
        self, query: Tensor, key: Tensor, value: Tensor, cached: GrowingLayer, group: _RowGroup
    ) -> Tensor:
        """Attend to old and new slots of a group: [rows, H, new, D] -> [rows, new, Hq D]."""
        assert cached.keys is not None and cached.values is not None
        cached.keys[group.rows, :, group.first : group.end] = key
        cached.values[group.rows, :, group.first : group.end] = value
        key = cached.keys[group.rows, :, : group.end]
        value = cached.values[group.rows, :, : group.end]
        rows, queries, new, size = query.shape
        groups = queries // key.shape[1]
        if new == 1:
            # the queries that share a key head stand as rows under it: nothing is repeated
            packed = query.reshape(rows, -1, groups, size)
            output = F.scaled_dot_product_attention(packed, key, value, scale=self._scale)
            return output.reshape(rows, 1, queries * size)
        output = F.scaled_dot_product_attention(
            query,
            key.repeat_interleave(groups, 1) if groups > 1 else key,
            value.repeat_interleave(groups, 1) if groups > 1 else value,
            group.mask,
            is_causal=group.mask is None,
            scale=self._scale,
        )  # [rows, Hq, new, D]
        return output.transpose(1, 2).reshape(rows, new, queries * size)


def _groups(lengths: Sequence[int], new: Sequence[int], like: Tensor) -> list[_RowGroup]:
    """Divide a batch whose rows have `lengths` slots and get `new`; masks are typed as `like`."""
    groups: list[_RowGroup] = []
    start = 0
    for (first, count), rows in groupby(zip(lengths, new, strict=True)):
        stop = start + len(list(rows))
        end = first + count
        mask = None
        if first and count > 1:
            slots = torch.arange(end, device=like.device)
            hide = slots > slots[first:, None]  # [new, end]
            mask = like.new_zeros(count, end).masked_fill_(hide, -torch.inf)
        groups.append(_RowGroup(slice(start, stop), first, end, mask))
        start = stop
    return groups


def _fits(text_model: Any) -> bool:
    """Return whether this forward pass covers the model.

    The kind must be listed, with no sliding window, on one device and without hooks.
    """
    config = text_model.config
    kinds = getattr(config, "layer_types", None)
    windowed = getattr(config, "sliding_window", None) if kinds is None else None
    if config.model_type not in _KINDS or windowed or set(kinds or ()) - {"full_attention"}:
        return False
    if any(map(_hooked, text_model.modules())):
        return False
    return len({weight.device for weight in text_model.parameters()}) == 1


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or hasattr(module, "_hf_hook"))


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
def _join(parts: Sequence[nn.Module]) -> _Product:
    """Make one product of layers that share an input.

    Weights are stacked, and each layer's own becomes a view of the stack. Layers that are more than
    a weight (quantized, or with an adapter) are called one by one.
    """
    linear = [part for part in parts if type(part) is nn.Linear]
    if len(linear) < len(parts):
        return parts[0] if len(parts) == 1 else partial(_beside, parts)
    weight = linear[0].weight.detach()
    if len(linear) > 1:
        weight = torch.cat([part.weight for part in linear])
        sizes = [part.out_features for part in linear]
        for part, rows in zip(linear, weight.split(sizes), strict=True):
            part.weight.data = rows
    bias = None
    if any(part.bias is not None for part in linear):
        bias = torch.cat(
            [
                weight.new_zeros(part.out_features) if part.bias is None else part.bias.detach()
                for part in linear
            ]
        )
    return partial(F.linear, weight=weight, bias=bias)


def _beside(parts: Sequence[nn.Module], states: Tensor) -> Tensor:
    return torch.cat([part(states) for part in parts], -1)
