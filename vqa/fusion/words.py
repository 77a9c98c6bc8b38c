"""Questions as token ids, and the language part's embeddings of these tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vqa.errors import InputError

_TABLE = "embed_tokens.weight"


@dataclass(frozen=True)
class Words:
    """The tokenizer of a language model and its token embeddings [V, Dw], as they are stored."""

    tokenizer: Any
    table: Tensor

    def ids(self, question: str, most: int) -> list[int]:
        """Token ids of a question, in lower case: `What` and `what` are different tokens.

        Nothing in it is a control token. Raises InputError for an empty question, and where it
        takes more than `most` tokens.
        """
        text = " ".join(question.lower().encode(errors="replace").decode().split())
        if not text:
            raise InputError("The question is empty: ask something about the picture.")
        found: list[int] = self.tokenizer(
            f" {text}", add_special_tokens=False, split_special_tokens=True
        ).input_ids
        if len(found) > most:
            raise InputError(
                f"The question takes {len(found)} tokens; the model holds {most}: make it shorter."
            )
        return found


def padded(questions: Sequence[Sequence[int]]) -> Tensor:
    """Ids [B, T] of questions of any lengths, -1 behind the end of each."""
    ids = torch.full((len(questions), max(map(len, questions))), -1, dtype=torch.long)
    for row, question in zip(ids, questions, strict=True):
        row[: len(question)] = torch.as_tensor(question)
    return ids


def load_words(directory: Path) -> Words:
    """Read tokenizer and embeddings from a language model's directory, and nothing else of it."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory)
    except Exception as error:  # the tokenizers library raises bare ones
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{directory}: its tokenizer cannot be read: {reason}") from error
    for path in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    if name.endswith(_TABLE):
                        return Words(tokenizer, file.get_tensor(name))
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from error
    raise InputError(
        f"{directory}: no tensor named {_TABLE} in its *.safetensors: use a language model built "
        "like Llama (Llama, Mistral, Qwen2, Qwen3, Gemma2, Phi3)"
    )
