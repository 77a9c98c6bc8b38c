"""Render a conversation with a chat template, and locate the texts in what it writes.

The template gets a sentinel in place of every text. It never sees what a text holds, only the white
space around it, so that what was rendered is good for all texts of the same shape.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vqa.errors import InputError
from vqa.inputs.placeholders import message_parts
from vqa.utils import sandbox

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# SHA-256 of the templates that this package gives to its own model
_BUNDLED = {"187e2e3c904d2206359b05020caf6eaf93d788d310c4675bf18cfaa5abdfc4b5"}


_PART = "{'type': 'text', 'text': '"  # where a template has written a list of parts as it is


@dataclass(frozen=True)
class TextShape:
    """What the template may depend on of a text: all but its inside."""

    lead: str = ""  # white space around the text: the template may trim it
    trail: str = ""
    filled: bool = True


@dataclass(frozen=True)
class MessageShape:
    """What the template may depend on of a message."""

    role: str
    images: int  # before the texts
    texts: tuple[TextShape, ...] = (TextShape(),)  # with a picture between two


@dataclass(frozen=True)
class Layout:
    """A rendered conversation without its texts."""

    pieces: tuple[
        tuple[str | int, bool], ...
    ]  # template text or a text's number, and if in the loss
    add_special_tokens: bool
    open_end: bool  # ends with an answer that nothing ends


@dataclass
class Codec:
    """What encoding needs of one processor, made once."""

    template: str
    marker: str  # the names of all control tokens begin with it, and no text holds it
    names: dict[str, str]  # control token -> its name in the copy
    tokenizer: Tokenizer  # the copy
    as_list: bool = True  # message content as a list of parts, or as one string
    in_order: bool = False  # whether the template writes the parts in their order
    string_roles: frozenset[str] = frozenset()  # whose content the template takes as a string only
    ends: tuple[str, ...] = ()  # control tokens that end a turn
    layouts: dict[tuple[tuple[MessageShape, ...], bool], Layout] = field(default_factory=dict)


def takes_list(processor: Any, codec: Codec) -> bool:
    """Return whether the template takes lists of parts; templates of text models take strings."""
    probe = (MessageShape("user", 1),)
    problems = []
    for codec.as_list in (True, False):
        try:
            pieces = render(processor, codec, probe, True)
        except sandbox.OverLimit:
            raise
        except InputError as error:
            problems.append(error)
            continue
        if _images(codec, processor, pieces) == 1:
            return codec.as_list
        problems.append(InputError("The chat template leaves out the picture."))
    raise problems[0]


def keeps_order(processor: Any, codec: Codec) -> bool:
    """Return whether the template writes a picture where it stands among the texts of a message.

    Most of LLaVA's write all pictures and then all texts.
    """
    if not codec.as_list:
        return False
    codec.in_order = True
    probe = (MessageShape("user", 0, (TextShape(), TextShape(), TextShape(filled=False))),)
    try:
        pieces = render(processor, codec, probe, True)
    except InputError:
        return False
    counts = [_images(codec, processor, [piece]) for piece in pieces[::2]]
    return pieces[1::2] == [0, 1] and counts == [0, 1, 1]


def leading_control_token(codec: Codec, after: str | int) -> str | None:
    """Name the control token that a piece of template begins with, white space aside."""
    text = str(after).lstrip()
    return next((token for token, name in codec.names.items() if text.startswith(name)), None)


def render(
    processor: Any, codec: Codec, shape: tuple[MessageShape, ...], add_generation_prompt: bool
) -> list[str | int]:
    """Render the template: its own text, control tokens renamed, and numbers for the texts.

    An empty text of a user is given as it is (the template may look for that); an answer always
    gets its sentinel, since its place counts. Where a template takes parts of a user's message but
    not of a system prompt or an answer, as Llama 3.2's, those are given as strings.
    """
    others = frozenset(slot.role for slot in shape) - {"user"} - codec.string_roles
    try:
        pieces = _render(processor, codec, shape, add_generation_prompt)
    except sandbox.OverLimit:
        raise
    except InputError:
        if not codec.as_list or not others:
            raise
        pieces = None
    if pieces is not None and not any(_PART in str(piece) for piece in pieces):
        return pieces
    before, codec.string_roles = codec.string_roles, codec.string_roles | others
    try:
        return _render(processor, codec, shape, add_generation_prompt)
    except InputError:
        codec.string_roles = before
        raise


def _render(
    processor: Any, codec: Codec, shape: tuple[MessageShape, ...], add_generation_prompt: bool
) -> list[str | int]:
    conversation: list[dict[str, Any]] = []
    sentinels: dict[str, tuple[int, int]] = {}  # the number of the text, and of its message
    number = 0
    for message, slot in enumerate(shape, start=1):
        texts = []
        for text in slot.texts:
            sentinel = ""
            if text.filled or slot.role == "assistant":
                sentinel = f"{codec.marker}t{number:06}"
                sentinels[sentinel] = number, message
            texts.append(text.lead + sentinel + text.trail)
            number += 1
        content = _content(processor, codec, slot, texts)
        conversation.append({"role": slot.role, "content": content})
    rendered = _apply(processor, codec.template, conversation, add_generation_prompt)
    control = "|".join(re.escape(token) for token in sorted(codec.names, key=len, reverse=True))
    pieces: list[str | int] = []
    for piece in re.split(f"({codec.marker}t[0-9]{{6}})", rendered):
        if piece in sentinels:
            pieces.append(sentinels[piece][0])
        else:
            pieces.append(re.sub(control, lambda match: codec.names[match[0]], piece))
    for sentinel, (_, message) in sentinels.items():
        if sentinel not in rendered:
            raise InputError(
                f"The chat template leaves out the text of message {message} "
                f"({shape[message - 1].role})."
            )
    return pieces


def is_bundled(template: str) -> bool:
    """Return whether a template is one that this package wrote."""
    return hashlib.sha256(template.encode(errors="replace")).hexdigest() in _BUNDLED


def _apply(
    processor: Any, template: str, conversation: list[dict[str, Any]], add_generation_prompt: bool
) -> str:
    """Run a template on a conversation; a stranger's runs where it can be stopped."""
    if is_bundled(template):
        options = {"chat_template": template, "add_generation_prompt": add_generation_prompt}
        return str(processor.apply_chat_template(conversation, tokenize=False, **options))
    special = processor.tokenizer.special_tokens_map
    variables = {
        **{key: value if isinstance(value, list) else str(value) for key, value in special.items()},
        "messages": conversation,
        "tools": None,
        "documents": None,
        "add_generation_prompt": add_generation_prompt,
    }
    try:
        return sandbox.render(template, **variables)
    except InputError as error:
        raise type(error)(f"The chat template refuses the conversation: {error}") from error


def lay_out(
    processor: Any, codec: Codec, shape: tuple[MessageShape, ...], add_generation_prompt: bool
) -> Layout:
    """Render a conversation, and mark what of the template belongs to answers.

    Raises InputError where the template loses a text or a picture.
    """
    rendered = render(processor, codec, shape, add_generation_prompt)
    pictures = sum(slot.images + len(slot.texts) - 1 for slot in shape)
    if _images(codec, processor, rendered) != pictures:
        raise InputError(
            f"The chat template writes {_images(codec, processor, rendered)} image tokens for "
            f"{pictures} pictures: give pictures with the user's messages only."
        )
    # Rendered once more without the white space around the texts: what is more in the first is
    # white space that belongs to a text and that the template did not trim.
    # A user's text of nothing but white space has no sentinel: it stands in both.
    bare = tuple(
        replace(
            slot,
            texts=tuple(
                TextShape(filled=text.filled) if text.filled or slot.role == "assistant" else text
                for text in slot.texts
            ),
        )
        for slot in shape
    )
    plain = rendered if bare == shape else render(processor, codec, bare, add_generation_prompt)
    if [p for p in plain if isinstance(p, int)] != [p for p in rendered if isinstance(p, int)]:
        plain = rendered
    texts = [(slot.role, text) for slot in shape for text in slot.texts]
    pieces: list[tuple[str | int, bool]] = []
    before: tuple[str, TextShape] | None = None
    open_end = False
    for index in range(0, len(rendered), 2):
        after = texts[int(rendered[index + 1])] if index + 1 < len(rendered) else None
        trail, inner, lead = _split_edges(
            str(rendered[index]),
            str(plain[index]),
            before[1].trail if before else "",
            after[1].lead if after else "",
        )
        answered = before is not None and before[0] == "assistant"
        pieces.append((trail, answered))
        if answered:
            end = leading_control_token(codec, inner)
            length = 0  # of what is in the loss
            if end in codec.ends:
                length = inner.index(codec.names[end]) + len(codec.names[end])
            elif after is None and shape[-1].role == "assistant":
                length, open_end = len(inner), True
            pieces.append((inner[:length], True))
            inner = inner[length:]
        pieces.append((inner, False))
        if after is not None:
            pieces.append((lead, after[0] == "assistant"))
            pieces.append((int(rendered[index + 1]), after[0] == "assistant"))
        before = after
    bos = processor.tokenizer.bos_token
    starts = bos in codec.names and str(rendered[0]).startswith(codec.names[bos])
    filled = tuple((piece, in_loss) for piece, in_loss in pieces if piece != "")
    return Layout(filled, not starts, open_end)


def _content(processor: Any, codec: Codec, slot: MessageShape, texts: Sequence[str]) -> Any:
    """Write the content of a message as the template takes it.

    Where the template would put all pictures first, those of the text are image tokens in it, as in
    LLaVA's own training.
    """
    token = processor.image_token
    if not codec.as_list or slot.role in codec.string_roles:
        return f"{token}\n" * slot.images + token.join(texts)
    if not codec.in_order:
        texts = [token.join(texts)]
    return [
        {"type": "image"} if part is None else {"type": "text", "text": part}
        for part in message_parts(slot.images, texts)
    ]


def _images(codec: Codec, processor: Any, pieces: Sequence[str | int]) -> int:
    name = codec.names[processor.image_token]
    return sum(piece.count(name) for piece in pieces if isinstance(piece, str))


def _split_edges(rendered: str, plain: str, trail: str, lead: str) -> tuple[str, str, str]:
    """Split a piece of template into the edges of the texts beside it and what is its own."""
    for count in range(len(trail), -1, -1):
        rest = len(rendered) - len(plain) - count
        if 0 <= rest <= len(lead):
            lead = lead[len(lead) - rest :]
            if rendered == trail[:count] + plain + lead:
                return trail[:count], plain, lead
    return "", rendered, ""
