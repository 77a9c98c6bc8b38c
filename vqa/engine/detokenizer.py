"""Token ids as text, while the completion grows and at its end."""

from __future__ import annotations

import re
from typing import Any

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class IncrementalDetokenizer:
    """Turns ids into pieces of text, which joined are the text of all ids (`decode_completion`)."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder  # control tokens of models are not all in the list
        self._special = frozenset(tokenizer.all_special_ids) | {
            number for number, token in added.items() if token.special
        }
        self._ids: list[int] = []
        self._emitted = 0  # characters

    def add(self, token: int) -> str:
        """Add an id; return the text that is certain now and was not before (often nothing)."""
        self._ids.append(token)
        # Llama's kind of tokenizer decodes a run of bytes as a whole; a bad byte spoils all of it.
        # Control tokens, and ids that name no token, are left out before: they do not end a run.
        name = self._tokenizer.convert_ids_to_tokens(token)
        settled = name and token not in self._special and not _BYTE.fullmatch(name)
        return self.flush() if settled else ""

    def flush(self) -> str:
        """Return the text that was held back; after the last id nothing more can change it."""
        text = decode_completion(self._tokenizer, self._ids)
        piece = text[self._emitted :]
        self._emitted += len(piece)
        return piece


def decode_completion(tokenizer: Any, ids: list[int]) -> str:
    """Decode ids without control tokens, outer white space, and half a character at the end.

    A character may be spread over several byte-level tokens. Until all are there, decoding ends in
    U+FFFD; left out at the end, it makes the text of fewer ids a beginning of the text of more.
    """
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.lstrip().rstrip("�").rstrip()
