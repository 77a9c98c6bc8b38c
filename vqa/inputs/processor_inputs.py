"""Inputs of any model by its own processor, in which a text that users typed stays text.

Processors write what stands for a picture (runs of image tokens, tiles, rows, markers) into the
rendered template and hand that to their tokenizer. Here they get the template with a sentinel in
place of every message's text, and a tokenizer that puts the texts in at the last moment, as
`vqa.inputs.prompts` does: whatever a processor does with its text, it never sees a user's.
"""

from __future__ import annotations

import copy
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from transformers import BatchEncoding, PreTrainedTokenizerBase

from vqa.errors import InputError, error_line
from vqa.inputs.prompts import (
    LaidOutTexts,
    Message,
    encode_unexpanded,
    end_of_turn_ids,
    lay_out_texts,
)

# what else of a tokenizer makes ids of a text: there the texts would be missing
_OTHER_DOORS = ("encode", "batch_encode_plus", "encode_plus", "tokenize", "apply_chat_template")


@dataclass(frozen=True)
class ModelInputs:
    """What a model takes for some conversations, padded to the longest one."""

    tensors: dict[str, Any]  # `input_ids` and `attention_mask` [B, L], pictures as it takes them
    loss_masks: list[list[bool]]  # of each conversation, without padding

    @property
    def lengths(self) -> list[int]:
        """Count the tokens of each conversation."""
        return [len(mask) for mask in self.loss_masks]


def prepare_inputs(
    processor: Any, conversations: Sequence[Sequence[Message]], *, answered: bool = False
) -> ModelInputs:
    """Encode conversations and prepare their pictures; all or none of them have some.

    Rows are padded on the left, for an answer to follow. Conversations that are `answered` end with
    an answer: its `completion_ids` stand behind the prompt by which it is asked for, and the rows
    are padded on the right, for training. The loss masks have what an assistant writes.

    For texts without control tokens the inputs are those of `processor.apply_chat_template`. Raises
    InputError as `vqa.inputs.prompts.encode` does, and where the processor does not take it.
    """
    pictures = [[image for m in messages for image in m.images] for messages in conversations]
    completions: list[list[int]] = [[] for _ in conversations]
    if answered:
        completions = [completion_ids(processor, m[:-1], m[-1].text) for m in conversations]
        conversations = [messages[:-1] for messages in conversations]
    rows = [lay_out_texts(processor, m, add_generation_prompt=True) for m in conversations]
    tokenizer = _SentinelTokenizer(
        processor.tokenizer, rows, completions, "right" if answered else "left"
    )
    filling = copy.copy(processor)
    filling.tokenizer = tokenizer
    try:
        inputs = filling(
            images=pictures if any(pictures) else None,
            text=[_with_sentinels(row) for row in rows],
            padding=True,
            return_tensors="pt",
        )
    except InputError:
        raise
    except Exception as error:  # of a library, about whatever a stranger's settings lead to
        what = f"{len(max(pictures, key=len))} pictures" if any(pictures) else "no picture"
        raise InputError(
            f"The model's processor does not take this conversation with {what}: "
            f"{error_line(error)}"
        ) from error
    tensors = dict(inputs)
    tensors.pop("labels", None)  # PaliGemma's own
    if not tokenizer.wrote(tensors.get("input_ids")):
        raise InputError(
            f"{type(processor).__name__} makes token ids by itself: conversations with a model of "
            "this kind cannot be encoded here."
        )
    return ModelInputs(tensors, tokenizer.loss_masks)


def completion_ids(processor: Any, messages: Sequence[Message], text: str) -> list[int]:
    """Encode `text` as the answer to a conversation, the end of its turn included.

    The ids are those that the template gives the conversation with its answer behind the ids of the
    prompt; where it does not begin with those, the answer is encoded alone.
    """
    prompt = encode_unexpanded(processor, messages, add_generation_prompt=True).input_ids
    try:
        whole = encode_unexpanded(
            processor, (*messages, Message("assistant", text)), add_generation_prompt=False
        )
    except InputError:  # a template without answers
        whole = None
    if whole is not None and whole.input_ids[: len(prompt)] == prompt:
        end = max((n + 1 for n, in_loss in enumerate(whole.loss_mask) if in_loss), default=0)
        if end > len(prompt):
            return whole.input_ids[len(prompt) : end]
    codec = lay_out_texts(processor, messages, add_generation_prompt=True).codec
    ids = list(codec.tokenizer.encode(text.strip(), add_special_tokens=False).ids)
    return [*ids, *end_of_turn_ids(processor)[:1]]


def check_processor(processor: Any) -> None:
    """Raise InputError for a processor that `prepare_inputs` can do nothing with."""
    for part in ("tokenizer", "image_processor", "image_token"):
        if getattr(processor, part, None) is None:
            raise InputError(
                f"{type(processor).__name__} has no {part}: models of this kind cannot be asked in "
                "conversations"
            )
    others = [
        name
        for name, value in vars(processor).items()
        if isinstance(value, PreTrainedTokenizerBase) and name != "tokenizer"
    ]
    if others:
        raise InputError(
            f"{type(processor).__name__} reads the question by a second tokenizer ({others[0]}): "
            "models of this kind cannot be asked in conversations"
        )


def _with_sentinels(row: LaidOutTexts) -> str:
    """Write a rendered conversation with its own control tokens and a sentinel for each text."""
    return "".join(
        _with_tokens(row, piece) if isinstance(piece, str) else f"{row.codec.marker}t{piece:06}"
        for piece, _ in row.layout.pieces
    )


def _with_tokens(row: LaidOutTexts, piece: str) -> str:
    """Write a piece of the template with its own control tokens."""
    tokens = {name: token for token, name in row.codec.names.items()}
    return re.sub(f"{row.codec.marker}[0-9]{{6}}", lambda match: tokens[match[0]], piece)


def _answer_edges(row: LaidOutTexts) -> dict[int, tuple[str, str]]:
    """Return what of the template belongs to each answer, before and behind its text."""
    pieces = [*row.layout.pieces]

    def joined(some: Iterable[tuple[str | int, bool]]) -> list[str]:
        beside = takewhile(lambda pair: pair[1] and isinstance(pair[0], str), some)
        return [_with_tokens(row, str(piece)) for piece, _ in beside]

    return {
        piece: ("".join(reversed(joined(pieces[:n][::-1]))), "".join(joined(pieces[n + 1 :])))
        for n, (piece, in_loss) in enumerate(pieces)
        if in_loss and isinstance(piece, int)
    }


class _SentinelTokenizer:
    """A tokenizer that encodes `_with_sentinels` of some rows, whatever was written between.

    Behind each row come the ids of its completion.
    """

    def __init__(
        self, tokenizer: Any, rows: Sequence[LaidOutTexts], completions: Sequence[list[int]],
        side: Literal["left", "right"],
    ) -> None:  # fmt: skip
        self._tokenizer = tokenizer
        self._rows = rows
        self._completions = completions
        self._side = side  # which is padded
        self._ids: list[list[int]] = []
        self.loss_masks: list[list[bool]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _OTHER_DOORS:
            raise InputError(f"its processor reads texts by `{name}`")
        return getattr(self._tokenizer, name)

    def wrote(self, input_ids: Any) -> bool:
        """Return whether the ids [B, L] that a processor returns are those that came from here."""
        return input_ids is not None and self._padded(self._ids, self._pad) == input_ids.tolist()

    def __call__(self, text: str | Sequence[str], **options: Any) -> BatchEncoding:
        texts = [text] if isinstance(text, str) else list(text)
        if len(texts) != len(self._rows) or self._ids:
            raise InputError("its processor makes several texts of one")
        encoded = [_encode(row, written, options) for row, written in zip(
            self._rows, texts, strict=True
        )]  # fmt: skip
        pairs = [*zip(encoded, self._completions, strict=True)]
        self._ids = [[*one.encoding.ids, *completion] for one, completion in pairs]
        self.loss_masks = [[*one.loss_mask, *[True] * len(ids)] for one, ids in pairs]
        data = {
            "input_ids": self._padded(self._ids, self._pad),
            "attention_mask": self._padded([[1] * len(ids) for ids in self._ids], 0),
        }
        names = self._tokenizer.model_input_names
        if options.get("return_token_type_ids", "token_type_ids" in names):
            # PaliGemma reads what is of type 0 in both directions
            types = [[0] * len(one.loss_mask) + [1] * len(ids) for one, ids in pairs]
            data["token_type_ids"] = self._padded(types, int(self._side == "right"))
        offsets = [
            max(map(len, self._ids)) - len(ids) if self._side == "left" else 0 for ids in self._ids
        ]
        return _Batch(data, encoded, offsets, tensor_type=options.get("return_tensors"))

    @property
    def _pad(self) -> int:
        pad = self._tokenizer.pad_token_id
        return int(self._tokenizer.eos_token_id or 0) if pad is None else int(pad)

    def _padded(self, rows: Sequence[Sequence[int]], value: int) -> list[list[int]]:
        longest = max(map(len, rows), default=0)
        fillers = [[value] * (longest - len(row)) for row in rows]
        return [
            [*filler, *row] if self._side == "left" else [*row, *filler]
            for row, filler in zip(rows, fillers, strict=True)
        ]


def _encode(row: LaidOutTexts, written: str, options: dict[str, Any]) -> _Encoded:
    parts: list[str] = []
    flags: list[bytes] = []  # of each character, whether it is in the loss
    starts: list[tuple[int, int]] = []  # of each part: in `written`, and among the parts
    begin = length = 0
    for piece, part, in_loss in _parts(row, written):
        starts.append((begin, length))
        parts.append(part)
        flags.append((b"\1" if in_loss else b"\0") * len(part))
        begin, length = begin + len(piece), length + len(part)
    special = row.layout.add_special_tokens and options.get("add_special_tokens", True)
    encoding = row.codec.tokenizer.encode("".join(parts), add_special_tokens=special)
    in_loss_at = b"".join(flags)
    mask = [b"\1" in in_loss_at[start:end] for start, end in encoding.offsets]
    return _Encoded(encoding, mask, starts, length)


def _parts(row: LaidOutTexts, written: str) -> Iterator[tuple[str, str, bool]]:
    """Yield each part of what was written, what is encoded in its place, and if it is in the loss.

    A processor may write what it likes into the template, but not beside the text of an answer.
    """
    names, edges = row.codec.names, _answer_edges(row)
    control = "|".join(re.escape(token) for token in sorted(names, key=len, reverse=True))
    pieces = re.split(f"{row.codec.marker}t([0-9]{{6}})", written)
    numbers = [None, *map(int, pieces[1::2]), None]
    if {piece for piece, _ in row.layout.pieces if isinstance(piece, int)} - {*numbers}:
        raise InputError("its processor leaves out a message")
    for piece, before, after in zip(pieces[::2], numbers[:-1], numbers[1:], strict=True):
        head = edges[before][1] if before in edges else ""
        foot = edges[after][0] if after in edges else ""
        if not (piece.startswith(head) and piece.endswith(foot)):
            raise InputError("its processor changes what begins or ends an answer")
        inner = piece[len(head) : len(piece) - len(foot)]
        for text, in_loss in ((head, True), (inner, False), (foot, True)):
            for part in re.split(f"({control})", text):
                yield part, names.get(part, part), in_loss
        if after is not None:
            yield f"{row.codec.marker}t{after:06}", row.texts[after], after in edges


@dataclass(frozen=True)
class _Encoded:
    encoding: Any
    loss_mask: list[bool]
    starts: list[tuple[int, int]]
    length: int


class _Batch(BatchEncoding):
    """Encoded rows that know where a character of what the processor wrote has gone."""

    def __init__(
        self, data: dict[str, Any], rows: list[_Encoded], offsets: list[int], tensor_type: Any
    ) -> None:
        super().__init__(data, tensor_type=tensor_type)
        self._rows = rows
        self._offsets = offsets  # tokens of padding before each row

    def char_to_token(self, batch_or_char_index: int, char_index: int | None = None) -> Any:
        """Return the position of a character's token in the padded row, as Idefics3 asks for it."""
        number, place = (0, batch_or_char_index) if char_index is None else (
            batch_or_char_index, char_index
        )  # fmt: skip
        row = self._rows[number]
        part = bisect_right(row.starts, (place, row.length)) - 1
        begin, start = row.starts[part]
        end = row.starts[part + 1][1] if part + 1 < len(row.starts) else row.length
        token = row.encoding.char_to_token(min(start + place - begin, end - 1))
        return None if token is None else token + self._offsets[number]
