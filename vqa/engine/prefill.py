"""Prefill: from prompts to the first logits, on top of what earlier prompts have left cached."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqa.engine.image_tokens import ImageTokenCache
from vqa.engine.kv_cache import CachedPrefix, KVCache
from vqa.engine.prefix_cache import PrefixCache, common_prefix
from vqa.engine.prompt import Prompt
from vqa.engine.stats import EngineStats
from vqa.engine.text_model import TextModel
from vqa.errors import VQAError

_WORTHWHILE = 0.75  # of the work without; the second forward pass has a price of its own


class Prefill:
    """Puts prompts into a KV cache, on top of the longest cached beginning of each."""

    def __init__(
        self,
        text: TextModel,
        image_tokens: ImageTokenCache,
        prefixes: PrefixCache,
        stats: EngineStats,
    ) -> None:
        self._text = text
        self._image_tokens = image_tokens
        self._prefixes = prefixes
        self._stats = stats

    def __call__(self, prompts: Sequence[Prompt]) -> tuple[Tensor, KVCache]:
        """Fill a KV cache; return the logits [B, V] of the tokens after the prompts, and the cache.

        What several prompts begin with, pictures above all, is computed once.
        """
        prefixes = [self._cached(prompt) for prompt in prompts]
        heads = self._heads_worth_sharing(prompts, prefixes)
        if heads:
            _, cache = self._fill(heads, [self._cached(head) for head in heads])
            for row, head in enumerate(heads):
                self._prefixes.add(head.identity, CachedPrefix(cache, row, len(head)))
            prefixes = [self._cached(prompt) for prompt in prompts]
        return self._fill(prompts, prefixes)

    def _cached(self, prompt: Prompt) -> CachedPrefix | None:
        # the last token runs for its logits, and not alone: one row goes through other products
        return self._prefixes.longest(prompt.identity[:-2])

    def _heads_worth_sharing(
        self, prompts: Sequence[Prompt], prefixes: Sequence[CachedPrefix | None]
    ) -> list[Prompt]:
        """Choose beginnings to compute ahead: all that are not cached or none, what is less work.

        All rows of a batch run as many tokens as the one with most new ones.
        """
        groups: dict[tuple[str, ...], list[int]] = {}
        for row, prompt in enumerate(prompts):
            groups.setdefault(prompt.pictures, []).append(row)
        cached = [prefix.length if prefix else 0 for prefix in prefixes]
        ahead = list(cached)
        heads: list[Prompt] = []
        to_run = 0
        for pictures, rows in groups.items():
            if not pictures:
                continue
            first = prompts[rows[0]]
            length = int(first.is_image.nonzero()[0][-1]) + 1
            if len(rows) > 1:
                length = min(
                    common_prefix(first.identity[:-2], prompts[row].identity[:-2])
                    for row in rows[1:]
                )
            if length <= min(cached[row] for row in rows):
                continue
            heads.append(first.first(length))
            to_run = max(to_run, length - cached[rows[0]])
            for row in rows:
                ahead[row] = max(cached[row], length)
        at_once = len(prompts) * max(len(p) - k for p, k in zip(prompts, cached, strict=True))
        in_two = len(prompts) * max(len(p) - k for p, k in zip(prompts, ahead, strict=True))
        return heads if len(heads) * to_run + in_two < _WORTHWHILE * at_once else []

    def _fill(
        self, prompts: Sequence[Prompt], prefixes: Sequence[CachedPrefix | None]
    ) -> tuple[Tensor, KVCache]:
        cache = KVCache.of_prefixes(self._text.layers, prefixes)
        new = [len(p) - past for p, past in zip(prompts, cache.lengths, strict=True)]
        logits = self._text.forward(self._embed(prompts, new), cache, new)
        self._stats.prefilled_tokens += sum(new)
        return logits, cache

    @torch.inference_mode()
    def _embed(self, prompts: Sequence[Prompt], new: Sequence[int]) -> Tensor:
        """Embed the last `new[i]` tokens of each prompt, pictures by image tokens: [B, n, Dt]."""
        ids = torch.zeros(len(prompts), max(new), dtype=torch.long)
        for row, (prompt, count) in enumerate(zip(prompts, new, strict=True)):
            ids[row, :count] = torch.from_numpy(prompt.ids[-count:])
        embeds = self._text.embed(ids)
        places = [p.is_image[-count:].nonzero()[0] for p, count in zip(prompts, new, strict=True)]
        images = {
            key: image
            for prompt, place in zip(prompts, places, strict=True)
            if len(place)
            for key, image in prompt.images.items()
        }
        encoded = self._image_tokens.encode(images)
        for row, (prompt, place) in enumerate(zip(prompts, places, strict=True)):
            if not len(place):
                continue
            tokens = torch.cat(
                [encoded[key].tokens for key in prompt.pictures]
            )  # [pictures * N, Dt]
            total = int(prompt.is_image.sum())
            if len(tokens) < total:
                raise VQAError(
                    f"The encoder gives {len(tokens)} features for {len(prompt.pictures)} "
                    f"pictures, the prompt has {total} image tokens."
                )
            # of a picture that is cut in two, the tokens of its second part
            part = tokens[total - len(place) : total].to(embeds)
            embeds[row, torch.from_numpy(place).to(embeds.device)] = part
        return embeds
