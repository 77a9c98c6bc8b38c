"""Score choices: how likely given texts are as whole answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from vqa.answering import Request
from vqa.engine.kv_cache import CachedPrefix, KVCache
from vqa.engine.prefill import Prefill
from vqa.engine.prefix_cache import PrefixCache, common_prefix
from vqa.engine.prompt import Prompt
from vqa.engine.sampling import log_probs_of
from vqa.engine.stats import EngineStats
from vqa.engine.text_model import TextModel
from vqa.inputs.prompts import Message, encode

if TYPE_CHECKING:
    from transformers import LlavaProcessor

_LOGITS = 1 << 24  # logits computed at once, 64 MB of them


@dataclass(frozen=True)
class EncodedChoice:
    """A text as the completion of a prompt."""

    prompt: Prompt
    ids: tuple[int, ...]  # of the completion, the end of turn included

    def __len__(self) -> int:
        return len(self.prompt) + len(self.ids)


def encode_choice(
    processor: LlavaProcessor, request: Request, prompt: Prompt, text: str
) -> EncodedChoice:
    """Encode `text` as the answer to a request, whose own encoding is `prompt`.

    The ids are those that training has behind the prompt, to the end of turn. Two cases differ.
    Where the prompt's last token would have merged with the answer, the answer begins with the
    merged one. Where the template writes answers after something else than its generation prompt,
    they are taken without it.
    """
    messages = (*request.messages, Message("assistant", text))
    encoded = encode(processor, messages, add_generation_prompt=False)
    ids, loss_mask = encoded.input_ids, encoded.loss_mask
    end = max((index + 1 for index, scored in enumerate(loss_mask) if scored), default=0)
    start = end
    while start and loss_mask[start - 1]:
        start -= 1
    common = common_prefix(np.array(ids, dtype=np.int64), prompt.ids)
    if common == len(prompt):
        start = common
    elif common >= start:
        prompt = prompt.first(start)
    return EncodedChoice(prompt, tuple(ids[start:end]))


def group_by_prompt(choices: Sequence[EncodedChoice]) -> list[list[int]]:
    """Group the indices of choices that complete the same prompt."""
    groups: dict[bytes, list[int]] = {}
    for index, choice in enumerate(choices):
        groups.setdefault(choice.prompt.identity.tobytes(), []).append(index)
    return list(groups.values())


class ChoiceScorer:
    """Runs choices on top of their prompts, at most `max_batch` at a time."""

    def __init__(
        self,
        text: TextModel,
        prefill: Prefill,
        prefixes: PrefixCache,
        stats: EngineStats,
        max_batch: int,
    ) -> None:
        self._text = text
        self._prefill = prefill
        self._prefixes = prefixes
        self._stats = stats
        self._max_batch = max_batch

    @torch.inference_mode()
    def __call__(self, groups: Sequence[Sequence[EncodedChoice]]) -> list[list[float]]:
        """Compute the log probabilities of choices; those of a group share its prompt."""
        prompts = [group[0].prompt for group in groups]
        logits, cache = self._prefill(prompts)
        cached = [CachedPrefix(cache, row, len(prompt)) for row, prompt in enumerate(prompts)]
        for prompt, prefix in zip(prompts, cached, strict=True):
            self._prefixes.add(prompt.identity, prefix)
        scores = [[0.0] * len(group) for group in groups]
        choices = [
            (row, column, choice.ids)
            for row, group in enumerate(groups)
            for column, choice in enumerate(group)
            if choice.ids
        ]
        first = log_probs_of(
            logits[[row for row, _, _ in choices]],
            torch.tensor([ids[0] for _, _, ids in choices], dtype=torch.long),
        )
        for (row, column, _), score in zip(choices, first, strict=True):
            scores[row][column] = score
        # of similar length: all rows of a run take as many steps as the longest
        longer = sorted((one for one in choices if len(one[2]) > 1), key=lambda one: len(one[2]))
        for start in range(0, len(longer), self._max_batch):
            part = longer[start : start + self._max_batch]
            rest = self._score_rest(
                [cached[row] for row, _, _ in part], [ids for *_, ids in part], logits.shape[1]
            )
            for (row, column, _), score in zip(part, rest, strict=True):
                scores[row][column] += score
        return scores

    def _score_rest(
        self,
        prefixes: Sequence[CachedPrefix],
        answers: Sequence[tuple[int, ...]],
        vocabulary: int,
    ) -> list[float]:
        """Score all but the first token of each answer, behind its cached prompt."""
        cache = KVCache.of_prefixes(self._text.layers, prefixes)
        # the last token runs for nothing: one alone would go through other products
        new = [len(ids) for ids in answers]
        ids = torch.zeros(len(answers), max(new), dtype=torch.long)
        for row, answer in enumerate(answers):
            ids[row, : new[row]] = torch.tensor(answer)
        states = self._text.states(self._text.embed(ids), cache, new)
        before = torch.cat([row[:-1] for row in states])  # [T, Dt]
        targets = torch.tensor([token for answer in answers for token in answer[1:]])  # [T]
        self._stats.prefilled_tokens += sum(new)
        at_once = max(1, _LOGITS // vocabulary)
        log_probs: list[float] = []
        for part, labels in zip(before.split(at_once), targets.split(at_once), strict=True):
            log_probs += log_probs_of(self._text.logits(part), labels)
        tokens = iter(log_probs)
        return [math.fsum(islice(tokens, count - 1)) for count in new]
