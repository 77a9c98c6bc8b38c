"""A LLaVA model's language model as the engine runs it: embeddings in, the last logits out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vqa.engine.keys_values import KeyValues
from vqa.engine.llama import LlamaForward
from vqa.errors import InputError

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

_CACHED = {"full_attention", "sliding_attention"}
_switch = threading.Lock()


class TextModel:
    """Runs new tokens on top of a cache.

    Unquantized models of the Llama kind run through `LlamaForward`, which computes the same with
    fewer and larger operations; all others through transformers' own forward.
    """

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        self._inner: Any = model.model.language_model
        self._embedding: Any = model.get_input_embeddings()
        self._head: Any = model.lm_head
        self._llama = LlamaForward.of(self._inner)
        config = self._inner.config
        kinds = set(getattr(config, "layer_types", None) or ())
        if not kinds <= _CACHED:
            names = ", ".join(sorted(kinds - _CACHED))
            raise InputError(
                f"The language model ({config.model_type}) has layers of kind {names}: only models "
                "with attention in every layer can answer here."
            )
        self.layers: int = config.num_hidden_layers
        self.context: int | None = getattr(config, "max_position_embeddings", None)

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings [..., Dt] of ids [...], which may lie on any device."""
        return self._embedding(ids.to(self._embedding.weight.device))

    @torch.inference_mode()
    def forward(self, embeds: Tensor, cache: KeyValues, starts: Tensor | None) -> Tensor:
        """Run `embeds` [B, n, Dt] in the cache's next n slots; float32 logits [B, V] of the last.

        Row i begins at slot `starts[i]`; None where all begin at the first. What stands in earlier
        slots is padding and never seen. Slot s of a row has position s - start.
        """
        past, new = cache.length, embeds.shape[1]
        slots = torch.arange(past, past + new, device=embeds.device)[None]  # [1, n]
        positions = slots
        if starts is not None:
            positions = (slots - starts[:, None]).clamp(min=0)  # [B, n]
        with _fast_products_of_one_row(embeds):
            if self._llama is not None:
                last = self._llama(embeds, cache, positions, _mask(slots, starts))  # [B, Dt]
            else:
                mask = None
                if starts is not None:
                    every = torch.arange(past + new, device=embeds.device)
                    mask = (every >= starts[:, None]).long()  # [B, past + n]
                last = self._inner(
                    inputs_embeds=embeds,
                    past_key_values=cache,
                    position_ids=positions.expand(len(embeds), -1),
                    attention_mask=mask,
                    use_cache=True,
                ).last_hidden_state[:, -1]  # [B, Dt]
        with _fast_products_of_one_row(last):
            return self._head(last).float()


def _mask(slots: Tensor, starts: Tensor | None) -> Tensor | None:
    """What each new slot sees of all, [B or 1, 1, n, length]; None where that is all, or causal."""
    new = slots.shape[1]
    length = int(slots[0, -1]) + 1
    if starts is None and new in (1, length):
        return None
    every = torch.arange(length, device=slots.device)[None, None]  # [1, 1, length]
    seen = every <= slots[:, :, None]  # [1, n, length]
    if starts is not None:
        # padding sees itself, or its softmax has nothing to sum over
        seen = seen & ((every >= starts[:, None, None]) | (every == slots[:, :, None]))
    return seen[:, None]


@contextmanager
def _fast_products_of_one_row(states: Tensor) -> Iterator[None]:
    """Multiply one row of bfloat16 on the CPU with torch's own kernels instead of oneDNN's.

    `states` [..., Dt] is what they multiply. Decoding one answer reads every weight for one row.
    oneDNN's kernels are made for many rows: on one they reach half of the memory's speed, torch's
    three quarters; on many it is the other way round. The switch is the process's, so threads take
    turns.
    """
    rows = states.numel() // states.shape[-1]
    if states.device.type != "cpu" or states.dtype != torch.bfloat16 or rows > 1:
        yield
        return
    backend: Any = torch.backends.mkldnn
    with _switch:
        before = backend.enabled
        backend.enabled = False
        try:
            yield
        finally:
            backend.enabled = before
