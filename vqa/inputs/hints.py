"""What is known of a picture beside its pixels: a short block of text before the question.

The names that the encoder's own classifier gives, and the text that was read, stand there in words,
which the language model knows. The blocks are data: the question stands after them, and what is
asked is decided by the question alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vqa.inputs.prompts import Message

_LEVELS = ((0.8, "surely"), (0.4, "likely"), (0.0, "maybe"))  # least probability of each word


@dataclass(frozen=True)
class Name:
    """A name that a classifier gives a picture, and its probability there."""

    text: str
    probability: float


def names_block(names: Sequence[Name]) -> str:
    """Write names, the likeliest first, as the block that stands before a question.

    Each word of certainty stands once, before the names that it is about. No name, no block.

    >>> names_block([Name("tabby", 0.62), Name("tiger cat", 0.21), Name("lynx", 0.05)])
    '[names: likely tabby; maybe tiger cat, lynx]'
    """
    if not names:
        return ""
    parts: list[str] = []
    for least, word in _LEVELS:
        most = next((lowest for lowest, _ in reversed(_LEVELS) if lowest > least), 2.0)
        level = [name.text for name in names if least <= name.probability < most]
        if level:
            parts.append(f"{word} {', '.join(level)}")
    return f"[names: {'; '.join(parts)}]"


def text_block(rows: Sequence[str]) -> str:
    """Quote the rows of text that were read in a picture, as the block before a question.

    A quotation mark in them becomes a single one and a line end a space: what a picture says stays
    within its quotes. No row, no block.

    >>> text_block(["STOP", "Town | 5 km"])
    '[text: "STOP" / "Town | 5 km"]'
    """
    quoted = ('"' + " ".join(row.replace('"', "'").split()) + '"' for row in rows)
    return f"[text: {' / '.join(quoted)}]" if rows else ""


def joined_blocks(names: str, text: str) -> str:
    """Put the block of names and that of text, as far as there are any, on a line each."""
    return "\n".join(filter(None, (names, text)))


def with_hints(messages: Sequence[Message], blocks: Sequence[str]) -> tuple[Message, ...]:
    """Put the block of each message's pictures before its text; `places` move with the text.

    `blocks` are those of all pictures of the conversation, in their order; an empty one adds
    nothing. Blocks of several pictures stand on a line each, numbered.
    """
    rest = iter(blocks)
    return tuple(_with_hints(message, [next(rest) for _ in message.images]) for message in messages)


def _with_hints(message: Message, blocks: list[str]) -> Message:
    if len(blocks) > 1:
        blocks = [f"{n}: {block}" for n, block in enumerate(blocks, start=1) if block]
    text = "".join(f"{block}\n" for block in blocks if block)
    if not text:
        return message
    moved = tuple(place + len(text) for place in message.places)
    return replace(message, text=text + message.text, places=moved)
