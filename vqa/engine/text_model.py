"""A LLaVA's language model as the engine runs it: embeddings in, states and logits out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vqa.engine.kv_cache import KVCache
from vqa.engine.llama import LlamaForward
from vqa.errors import InputError

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

_CACHED = {"full_attention", "sliding_attention"}
_mkldnn_lock = threading.Lock()


class TextModel:
    """Runs new tokens on top of a cache.

    Models of the Llama kind run through `LlamaForward`, which computes the same with fewer and
    larger operations, the rows of a batch together. All others, and models that are spread over
    several devices, run through transformers' own forward, row by row: it takes batches only with
    padding, on which answers would depend.
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
        """Look up the embeddings [..., Dt] of ids [...], which may lie on any device."""
        embedded: Tensor = self._embedding(ids.to(self._embedding.weight.device))
        return embedded

    @torch.inference_mode()
    def forward(self, embeds: Tensor, cache: KVCache, new: Sequence[int]) -> Tensor:
        """Run the first `new[i]` of each row of `embeds` [B, n, Dt] behind the slots of `cache`.

        Returns the logits of each row's last token [B, V] in float32.
        """
        with _without_mkldnn(embeds):
            if self._llama is None:
                last = torch.stack([row[-1] for row in self._by_row(embeds, cache, new)])
            else:
                last = self._llama(embeds, cache, new)  # [B, Dt]
        return self.logits(last)

    @torch.inference_mode()
    def states(self, embeds: Tensor, cache: KVCache, new: Sequence[int]) -> list[Tensor]:
        """Run the same, and return the states of each row's new tokens [new[i], Dt]."""
        if self._llama is None:
            return self._by_row(embeds, cache, new)
        states = self._llama.states(embeds, cache, new)  # [B, n, Dt]
        return [row[:count] for row, count in zip(states, new, strict=True)]

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """Compute the logits [B, V] in float32 of the tokens behind states [B, Dt]."""
        with _without_mkldnn(states):
            logits: Tensor = self._head(states)
        return logits.float()

    def _by_row(self, embeds: Tensor, cache: KVCache, new: Sequence[int]) -> list[Tensor]:
        rows = cache.split(max(cache.lengths) + embeds.shape[1])
        states = []
        for row, part, count in zip(rows, embeds, new, strict=True):
            past = row.get_seq_length()
            positions = torch.arange(past, past + count, device=embeds.device)[None]
            output = self._inner(
                inputs_embeds=part[None, :count],
                past_key_values=row,
                position_ids=positions,
                use_cache=True,
            )
            states.append(output.last_hidden_state[0])
        cache.join(rows)
        return states


@contextmanager
def _without_mkldnn(states: Tensor) -> Iterator[None]:
    """Turn oneDNN off for the product of `states` [..., Dt], if they are one bfloat16 row on a CPU.

    Decoding reads every weight for that row. oneDNN's kernels are made for many rows: on one they
    reach half of the memory's speed, torch's own three quarters. The setting is the process's, so
    threads take turns.
    """
    alone = states.numel() == states.shape[-1]
    if not alone or states.device.type != "cpu" or states.dtype != torch.bfloat16:
        yield
        return
    backend: Any = torch.backends.mkldnn
    with _mkldnn_lock:
        before = backend.enabled
        backend.enabled = False
        try:
            yield
        finally:
            backend.enabled = before
