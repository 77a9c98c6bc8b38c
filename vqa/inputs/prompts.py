"""The only door for text: a conversation becomes token ids and a loss mask.

The chat template is rendered with a sentinel in place of every message's text. What lies between
the sentinels was written by the template: only there do control tokens (`<image>`, `<|im_start|>`,
`</s>` and so on) count. They are swapped for random names, under which a private copy of the
tokenizer knows them; then the messages' texts are put in and everything is encoded in one go. So a
text can hold any marker and stays text, and for harmless text the ids are those of
`processor.apply_chat_template`, merges over the border of template and text included.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from vqa.errors import InputError, error_line
from vqa.inputs.chat_template import (
    Codec,
    Layout,
    MessageShape,
    TextShape,
    keeps_order,
    lay_out,
    leading_control_token,
    render,
    takes_list,
)
from vqa.inputs.control_tokens import control_tokens, rename_tokens
from vqa.inputs.placeholders import split_at_pictures
from vqa.inputs.tiles import count_crops, pixel_size
from vqa.utils.config_sizes import check_config

if TYPE_CHECKING:
    from PIL import Image
    from transformers import LlavaProcessor


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. Pictures without a place stand before the text, as in LLaVA.

    The last `len(places)` pictures stand in it, each for an `<image>` that begins at that character
    (see `vqa.inputs.placeholders`); any other `<image>` is text.
    """

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[Image.Image, ...] = ()
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class EncodedPrompt:
    """Token ids, and for each whether the assistant wrote it: training computes a loss there."""

    input_ids: list[int]  # [L], every picture already as all of its image tokens
    loss_mask: list[bool]  # [L]


def encode(
    processor: LlavaProcessor, messages: Sequence[Message], *, add_generation_prompt: bool
) -> EncodedPrompt:
    """Encode a conversation with the processor's chat template.

    The loss mask has what an assistant writes: its text and the token that ends its turn, with the
    white space the template puts between the two, and nothing after it. A token that spans the
    border of template and answer (`"▁cat"` of `"ASSISTANT: cat"`) is in it, since the model has to
    write it. Where the template leaves the last answer without an end (LLaVA 1.5), the tokenizer's
    end-of-text token is added and set, or no answer could learn to end; nothing else differs
    from `processor.apply_chat_template`. Lone surrogates in a text become U+FFFD.

    A picture with a place stands there: as a part between two parts of text where the template
    keeps their order, and else, as in LLaVA's own training, as an image token in the text.

    With `add_generation_prompt` the ids end where the assistant begins to write; the conversation
    must then not end with an answer.

    Raises InputError where the template cannot render the conversation or loses a part of it, and
    where `places` are not those of placeholders.
    """
    encoded = encode_unexpanded(processor, messages, add_generation_prompt=add_generation_prompt)
    ids: list[int] = []
    mask: list[bool] = []
    images = [image for message in messages for image in message.images]
    runs = iter(count_image_tokens(processor, images))
    for token, in_loss in zip(encoded.input_ids, encoded.loss_mask, strict=True):
        if token == processor.image_token_id:
            run = next(runs)
            ids.extend([token] * run)
            mask.extend([False] * run)
        else:
            ids.append(token)
            mask.append(in_loss)
    return EncodedPrompt(ids, mask)


def encode_unexpanded(
    processor: Any, messages: Sequence[Message], *, add_generation_prompt: bool
) -> EncodedPrompt:
    """Encode a conversation as `encode` does, with one image token for each picture.

    The processor may be that of any model whose chat template writes `image_token` for a picture.
    """
    laid_out = lay_out_texts(processor, messages, add_generation_prompt=add_generation_prompt)
    codec, layout, texts = laid_out.codec, laid_out.layout, laid_out.texts
    parts = [piece if isinstance(piece, str) else texts[piece] for piece, _ in layout.pieces]
    flags = b"".join(
        (b"\1" if in_loss else b"\0") * len(part)
        for part, (_, in_loss) in zip(parts, layout.pieces, strict=True)
    )
    encoding = codec.tokenizer.encode("".join(parts), add_special_tokens=layout.add_special_tokens)
    ids = list(encoding.ids)
    mask = [b"\1" in flags[start:end] for start, end in encoding.offsets]
    eos = processor.tokenizer.eos_token_id
    if layout.open_end and eos is not None:
        if ids[-1:] == [eos]:  # the tokenizer puts it there itself
            mask[-1] = True
        else:
            ids.append(eos)
            mask.append(True)
    return EncodedPrompt(ids, mask)


@dataclass(frozen=True)
class LaidOutTexts:
    """A rendered conversation: the template's own text in `layout`, the messages' in `texts`."""

    codec: Codec
    layout: Layout
    texts: list[str]


def lay_out_texts(
    processor: Any, messages: Sequence[Message], *, add_generation_prompt: bool
) -> LaidOutTexts:
    """Render the chat template around a conversation's texts. Raises InputError as `encode`."""
    if not messages:
        raise InputError("The conversation is empty: give at least one message.")
    if add_generation_prompt and messages[-1].role == "assistant":
        raise InputError("The conversation ends with an answer: add the user's next message.")
    by_message = [
        list(map(_without_surrogates, _pieces(message, number)))
        for number, message in enumerate(messages, start=1)
    ]
    texts = [text for texts in by_message for text in texts]
    codec = _codec(processor)
    while any(codec.marker in text for text in texts):
        codec = _codec(processor, renew=True)

    cores = [text.strip() for text in texts]
    outsides = (
        TextShape(*_edges(text, core), bool(core)) for text, core in zip(texts, cores, strict=True)
    )
    shape = tuple(
        MessageShape(
            message.role, len(message.images) - len(message.places), tuple(islice(outsides, n))
        )
        for message, n in zip(messages, map(len, by_message), strict=True)
    )
    return LaidOutTexts(codec, _layout(processor, codec, shape, add_generation_prompt), cores)


def count_image_tokens(processor: LlavaProcessor, images: Sequence[Image.Image]) -> list[int]:
    """Count the image tokens that stand for each picture: for the whole of it and for its tiles."""
    if not images:
        return []
    each = tokens_per_image(processor)
    return [each * count_crops(processor.image_processor, image.size) for image in images]


def tokens_per_image(processor: LlavaProcessor) -> int:
    """Count the image tokens N of a picture without tiles, as `LlavaProcessor` counts them.

    Raises InputError where the processor does not say it or prepares pictures of varying sizes.
    """
    if not processor.patch_size:
        raise InputError("The processor has no patch_size: set it in its processor_config.json.")
    height, width = pixel_size(processor.image_processor)
    sizes = {
        "patch_size": processor.patch_size,
        "num_additional_image_tokens": processor.num_additional_image_tokens,
    }
    check_config(sizes, "The processor_config.json", lists=False)
    count = (height // processor.patch_size) * (width // processor.patch_size)
    count += processor.num_additional_image_tokens or 0
    return int(count - (processor.vision_feature_select_strategy == "default"))


def end_of_turn_ids(processor: LlavaProcessor) -> list[int]:
    """List the token ids that end an answer: the template's end of turn, then the end of text."""
    tokenizer = processor.tokenizer
    ids = [int(tokenizer.convert_tokens_to_ids(end)) for end in _codec(processor).ends]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ids:
        ids.append(tokenizer.eos_token_id)
    return ids


_LONGEST_TEMPLATE = 1 << 20  # characters; long ones, with tools, have a fiftieth of it
_codecs: WeakKeyDictionary[Any, tuple[Any, Codec]] = WeakKeyDictionary()  # by processor


def _pieces(message: Message, number: int) -> list[str]:
    """Split the text of a message at its pictures."""
    if message.places and message.role != "user":
        raise InputError(f"Message {number}: a picture in a text of {message.role}.")
    if len(message.places) > len(message.images):
        raise InputError(
            f"Message {number}: {len(message.places)} places for {len(message.images)} pictures."
        )
    try:
        return split_at_pictures(message.text, message.places)
    except ValueError as error:
        raise InputError(f"Message {number}: {error}.") from None


def _without_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _edges(text: str, core: str) -> tuple[str, str]:
    if len(text) == len(core):
        return "", ""
    start = text.index(core) if core else len(text)
    return text[:start], text[start + len(core) :]


def _codec(processor: Any, renew: bool = False) -> Codec:
    tokenizer = processor.tokenizer
    template = _template(processor)
    state = (template, processor.image_token, tokenizer, len(tokenizer), tokenizer.eos_token)
    cached = _codecs.get(processor)
    if cached is not None and cached[0] == state and not renew:
        return cached[1]
    codec = _build(processor, template)
    _codecs[processor] = (state, codec)
    return codec


def _template(processor: Any) -> str:
    template = processor.chat_template or processor.tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise InputError(
            "The processor has no chat template: put a chat_template.jinja into the model's "
            "directory."
        )
    if len(str(template)) > _LONGEST_TEMPLATE:
        raise InputError(f"The processor's chat template has {len(str(template)):,} characters.")
    return str(template)


def _build(processor: Any, template: str) -> Codec:
    # First letter nowhere else in the marker: then no text that ends in a part of it completes it.
    marker = "q" + "".join(secrets.choice("abcdefghijklmnoprstuvwxyz") for _ in range(20))
    control = control_tokens(processor, template)
    names = {token: f"{marker}{number:06}" for number, token in enumerate(control)}
    try:
        copy = rename_tokens(processor.tokenizer, names)
    except InputError:
        raise
    except Exception as error:  # the tokenizers library raises bare ones
        raise InputError(f"The tokenizer cannot be copied: {error_line(error)}") from error
    codec = Codec(template, marker, names, copy)
    codec.as_list = takes_list(processor, codec)
    codec.in_order = keeps_order(processor, codec)
    ends = [processor.tokenizer.eos_token] if processor.tokenizer.eos_token else []
    turn = (MessageShape("user", 0), MessageShape("assistant", 0))
    try:
        after = render(processor, codec, turn, False)[-1]
    except InputError:
        after = ""  # a template that wants more than this of a conversation
    first = leading_control_token(codec, after)
    if first:
        ends = [first, *(end for end in ends if end != first)]
    codec.ends = tuple(ends)
    return codec


def _layout(
    processor: Any, codec: Codec, shape: tuple[MessageShape, ...], add_generation_prompt: bool
) -> Layout:
    key = (shape, add_generation_prompt)
    layout = codec.layouts.get(key)
    if layout is None:
        layout = lay_out(processor, codec, shape, add_generation_prompt)
        # A template that writes the date is rendered every time, and no stranger fills memory.
        texts = [text for slot in shape for text in slot.texts]
        edges = sum(len(text.lead) + len(text.trail) for text in texts)
        if "strftime_now" not in codec.template and len(texts) + edges <= 256:
            if len(codec.layouts) >= 4096:
                codec.layouts.clear()
            codec.layouts[key] = layout
    return layout
