"""From prompts to the first logits, computing only what no earlier prompt has left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqa.engine.counts import Counts
from vqa.engine.features import Features
from vqa.engine.keys_values import KeyValues, Span
from vqa.engine.memory import Prefixes, common_prefix
from vqa.engine.prompt import Prompt
from vqa.engine.text_model import TextModel
from vqa.errors import VQAError

_WORTHWHILE = 0.75  # of the work without; the second forward pass has a price of its own


@dataclass
class Filled:
    """A batch whose prompts are in the cache; they end together, at its last slot."""

    logits: Tensor  # [B, V] float32, of the token after the prompt
    cache: KeyValues
    starts: list[int]  # [B] first slot of each row


class Prefill:
    """Puts prompts into a cache, on top of the longest known beginning of each."""

    def __init__(
        self, text: TextModel, features: Features, prefixes: Prefixes, counts: Counts
    ) -> None:
        self._text = text
        self._features = features
        self._prefixes = prefixes
        self._counts = counts

    def __call__(self, prompts: Sequence[Prompt]) -> Filled:
        """Fill a cache. What several prompts begin with, pictures above all, is computed once."""
        spans = [self._known(prompt) for prompt in prompts]
        heads = self._heads_worth_sharing(prompts, spans)
        if heads:
            filled = self._fill(heads, [self._known(head) for head in heads])
            for row, (head, start) in enumerate(zip(heads, filled.starts, strict=True)):
                span = Span(filled.cache, row, start, len(head))
                self._prefixes.add(head.identity, span)
            spans = [self._known(prompt) for prompt in prompts]
        return self._fill(prompts, spans)

    def _known(self, prompt: Prompt) -> Span | None:
        # the last token always runs: its logits are wanted
        return self._prefixes.find(prompt.identity[:-1])

    def _heads_worth_sharing(
        self, prompts: Sequence[Prompt], spans: Sequence[Span | None]
    ) -> list[Prompt]:
        """Choose beginnings to compute ahead: all that are not known or none, what is less work.

        Rows of a batch run equally many new tokens, so one unknown picture costs all of them.
        """
        groups: dict[tuple[str, ...], list[int]] = {}
        for row, prompt in enumerate(prompts):
            groups.setdefault(prompt.pictures, []).append(row)
        known = [span.length if span else 0 for span in spans]
        ahead = list(known)
        heads: list[Prompt] = []
        to_run = 0
        for pictures, rows in groups.items():
            if not pictures:
                continue
            first = prompts[rows[0]]
            length = int(first.is_image.nonzero()[0][-1]) + 1
            if len(rows) > 1:
                length = min(
                    common_prefix(first.identity[:-1], prompts[row].identity[:-1])
                    for row in rows[1:]
                )
            if length <= min(known[row] for row in rows):
                continue
            heads.append(first.first(length))
            to_run = max(to_run, length - known[rows[0]])
            for row in rows:
                ahead[row] = max(known[row], length)
        at_once = len(prompts) * max(len(p) - k for p, k in zip(prompts, known, strict=True))
        in_two = len(prompts) * max(len(p) - k for p, k in zip(prompts, ahead, strict=True))
        return heads if len(heads) * to_run + in_two < _WORTHWHILE * at_once else []

    def _fill(self, prompts: Sequence[Prompt], spans: Sequence[Span | None]) -> Filled:
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        new = max(
            length - (span.length if span else 0)
            for length, span in zip(lengths, spans, strict=True)
        )
        reused = [
            span.first(length - new) if span else None
            for length, span in zip(lengths, spans, strict=True)
        ]
        cache = KeyValues.of_spans(self._text.layers, reused, longest - new)
        starts = [longest - length for length in lengths]
        embeds = self._embed(prompts, new)
        offsets = torch.tensor(starts, device=embeds.device) if any(starts) else None
        logits = self._text.forward(embeds, cache, offsets)
        self._counts.prefilled_tokens += sum(min(length, new) for length in lengths)
        return Filled(logits, cache, starts)

    @torch.inference_mode()
    def _embed(self, prompts: Sequence[Prompt], new: int) -> Tensor:
        """Embed the last `new` tokens of each prompt, pictures by their features: [B, new, Dt]."""
        ids = torch.zeros(len(prompts), new, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, max(0, new - len(prompt)) :] = torch.from_numpy(prompt.ids[-new:])
        embeds = self._text.embed(ids)
        wanted = {
            key: image
            for prompt in prompts
            if prompt.is_image[-new:].any()
            for key, image in prompt.images.items()
        }
        features = self._features.of(wanted)
        for row, prompt in enumerate(prompts):
            count = int(prompt.is_image[-new:].sum())
            if not count:
                continue
            tokens = torch.cat([features[key] for key in prompt.pictures])  # [pictures * N, Dt]
            if len(tokens) != prompt.is_image.sum():
                raise VQAError(
                    f"The encoder gives {len(tokens)} features for {len(prompt.pictures)} "
                    f"pictures, the prompt has {int(prompt.is_image.sum())} image tokens."
                )
            places = torch.from_numpy(prompt.is_image[-new:].nonzero()[0])
            places = places + max(0, new - len(prompt))
            embeds[row, places.to(embeds.device)] = tokens[-count:].to(embeds)
        return embeds
