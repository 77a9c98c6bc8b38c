"""Tokens that only a chat template may write, and tokenizers that know them by other names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vqa.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def control_tokens(processor: Any, template: str) -> list[str]:
    """List the special tokens, and other added ones that the template or the processor writes.

    Other added tokens (words that were added to a vocabulary, Gemma's runs of line breaks) are
    ordinary text. Raises InputError where the tokenizer does not know the image token.
    """
    added = processor.tokenizer.added_tokens_decoder.values()
    written = "\n".join([template, *(v for v in vars(processor).values() if isinstance(v, str))])
    tokens = [
        token.content
        for token in added
        if token.special
        or token.content == processor.image_token
        or (token.content in written and not token.content.isspace())
    ]
    if processor.image_token not in tokens:
        raise InputError(
            f"The tokenizer does not know the image token {processor.image_token}: add it as a "
            "special token and resize the model's embeddings."
        )
    return tokens


def rename_tokens(tokenizer: Any, names: dict[str, str]) -> Tokenizer:
    """Copy a tokenizer so that it knows some added tokens under other names only, with their ids.

    The names also replace the tokens in the model's vocabulary: Unigram, for one, would find
    `</s>` there once it is no added token. Raises InputError for a tokenizer that is not a fast
    one, or whose copy would number its tokens otherwise.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise InputError(
            f"{type(tokenizer).__name__} has no tokenizer.json: convert it to a fast tokenizer."
        )
    data = json.loads(backend.to_str())
    data["truncation"] = data["padding"] = None
    for token in data["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = data["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): i for piece, i in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [
            pair for pair in pairs if not names.keys() & {pair[0], pair[1], pair[0] + pair[1]}
        ]
    copy = Tokenizer.from_str(json.dumps(data))
    for id_, token in tokenizer.added_tokens_decoder.items():
        if copy.token_to_id(names.get(token.content, token.content)) != id_:
            raise InputError(
                f"The tokenizer's added token {token.content} keeps its id {id_} in no copy: save "
                "the tokenizer and load it again."
            )
    return copy
