"""Questions as token ids, and the language model's embeddings of these tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vqa.errors import InputError
from vqa.models.model_files import load_pretrained

_TABLE = "embed_tokens.weight"


@dataclass(frozen=True)
class TokenEmbeddings:
    """The tokenizer of a language model and its token embeddings [V, Dw], as they are stored."""

    tokenizer: Any
    table: Tensor

    def encode(self, question: str, max_tokens: int) -> list[int]:
        """Encode a question in lower case: `What` and `what` are different tokens.

        Its text gives no control token. Raises InputError for an empty question, and for one of
        more than `max_tokens` tokens.
        """
        text = " ".join(question.lower().encode(errors="replace").decode().split())
        if not text:
            raise InputError("The question is empty: ask something about the picture.")
        ids: list[int] = self.tokenizer(
            f" {text}", add_special_tokens=False, split_special_tokens=True
        ).input_ids
        if len(ids) > max_tokens:
            raise InputError(
                f"The question takes {len(ids)} tokens; the model holds {max_tokens}: "
                "make it shorter."
            )
        return ids


def pad_questions(questions: Sequence[Sequence[int]]) -> Tensor:
    """Stack questions of any lengths as ids [B, T], -1 behind the end of each."""
    ids = torch.full((len(questions), max(map(len, questions))), -1, dtype=torch.long)
    for row, question in zip(ids, questions, strict=True):
        row[: len(question)] = torch.as_tensor(question)
    return ids


def load_token_embeddings(directory: Path) -> TokenEmbeddings:
    """Read only tokenizer and embeddings from a language model's directory."""
    from transformers import AutoTokenizer

    try:
        tokenizer = load_pretrained(AutoTokenizer.from_pretrained, directory)
    except InputError as error:
        raise InputError(f"{directory}: its tokenizer cannot be read: {error}") from error
    for path in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    if name.endswith(_TABLE):
                        return TokenEmbeddings(tokenizer, file.get_tensor(name))
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from error
    raise InputError(
        f"{directory}: no tensor named {_TABLE} in its *.safetensors: use a language model built "
        "like Llama (Llama, Mistral, Qwen2, Qwen3, Gemma2, Phi3)"
    )
