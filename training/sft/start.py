"""Start a projector where the pictures' features already mean words.

Ridge regression from a picture's mean patch feature to the mean embedding of the words of its
answers. A language model reads such tokens as words from the first step on; from a random start
a small model needs thousands of steps before it looks at the picture at all. That one linear map
suffices to show pictures to a language model is from Merullo et al. (2023), "Linearly Mapping from
Image to Text Space"; the weights of words from Arora et al. (2017), "A Simple but Tough-to-Beat
Baseline for Sentence Embeddings".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerBase

from vqa.data.example import Example
from vqa.errors import InputError

_RIDGE = 0.1  # times the number of pictures
_FREQUENT = 0.01  # a word in this share of the pictures weighs half
_COMMON = 0.2  # a word in a larger share ("a", "in", "yes") says nothing of a picture


@torch.no_grad()
def start_from_words(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    examples: Iterable[Example],
    paths: set[str],
    features: Callable[[str], Tensor],
) -> None:
    """Set the projector of `model` from the answers of `examples` about the pictures in `paths`.

    `features` gives a picture's patch features [C, N, Dv], the whole picture's first.
    """
    words = _without_common(_words(processor.tokenizer, examples, paths))
    table = model.get_input_embeddings().weight.detach().float().cpu()  # [vocabulary, Dt]
    centre = table.mean(0)  # [Dt]
    pictures = sorted(words)
    means = torch.stack([features(path)[0].float().cpu().mean(0) for path in pictures])  # [P, Dv]
    targets = torch.stack(_targets([words[path] for path in pictures], table - centre))  # [P, Dt]
    middle = means.mean(0)  # [Dv]
    x, y = means - middle, targets - targets.mean(0)
    penalty = _RIDGE * len(pictures) * torch.eye(x.shape[1])
    weight = torch.linalg.solve(x.T @ x + penalty, x.T @ y)  # [Dv, Dt]

    # as large as words are, measured on the patches of some pictures
    chosen = pictures[:: len(pictures) // 64 + 1]
    some = torch.cat([features(path)[0].float().cpu() for path in chosen])  # [patches, Dv]
    weight = weight * ((table - centre).std() / ((some - middle) @ weight).std())
    set_linear(model.model.multi_modal_projector, weight, middle, centre, some)


def set_linear(
    projector: Any, weight: Tensor, middle: Tensor, centre: Tensor, some: Tensor
) -> None:
    """Make the two layers compute (x - middle) @ weight + centre in the main directions of `some`.

    All tensors are on the CPU, wherever the projector is.

    gelu(a) - gelu(-a) = a: pairs of hidden units of opposite sign are an exact identity, from which
    the projector goes on learning. Half as many directions as hidden units hold nearly all of it.
    """
    outputs = (some - middle) @ weight  # [patches, Dt]
    values, directions = torch.linalg.eigh(outputs.T @ outputs / len(outputs))
    half = len(centre) // 2
    scale = values[-half:].clamp(min=1e-8).sqrt()  # [half]: hidden units vary by about one
    main = directions[:, -half:]  # [Dt, half]
    inward = (weight @ main / scale).T  # [half, Dv]
    projector.linear_1.weight.copy_(torch.cat([inward, -inward]))
    projector.linear_1.bias.copy_(-projector.linear_1.weight.float().cpu() @ middle)
    projector.linear_2.weight.copy_(torch.cat([main * scale, -main * scale], dim=1))
    projector.linear_2.bias.copy_(centre)


def _words(
    tokenizer: PreTrainedTokenizerBase, examples: Iterable[Example], paths: set[str]
) -> dict[str, set[int]]:
    """Collect the tokens of all answers about each picture."""
    words: defaultdict[str, set[int]] = defaultdict(set)
    for example in examples:
        for image in map(str, example.images):
            if image in paths:
                text = " " + example.answers[0].lower().rstrip(".")
                words[image].update(tokenizer(text, add_special_tokens=False).input_ids)
    return words


def _without_common(words: dict[str, set[int]]) -> dict[str, set[int]]:
    """Leave out the words of many pictures; where there are no others, those of all."""
    count = Counter(token for tokens in words.values() for token in tokens)
    for most in (_COMMON * len(words), len(words) - 1):
        rare = {path: {t for t in tokens if count[t] <= most} for path, tokens in words.items()}
        distinctive = {path: tokens for path, tokens in rare.items() if tokens}
        if distinctive:
            return distinctive
    raise InputError(
        "projector_start: the answers are the same words for all pictures, from which a projector "
        "cannot start; set projector_start=as_is"
    )


def _targets(words: list[set[int]], table: Tensor) -> list[Tensor]:
    """Average the embeddings of each picture's words to [Dt], frequent ones weighing less."""
    count = Counter(token for picture in words for token in picture)
    weights = {token: _FREQUENT / (_FREQUENT + n / len(words)) for token, n in count.items()}
    targets = []
    for picture in words:
        tokens = sorted(picture)
        weight = torch.tensor([weights[token] for token in tokens])  # [words]
        targets.append((table[tokens] * weight[:, None]).sum(0) / weight.sum())
    return targets
