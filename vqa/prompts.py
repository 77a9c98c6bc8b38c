"""The only door for text: a conversation becomes token ids and the mask of what is learned.

The chat template is rendered with a sentinel in place of every message's text. What lies between
the sentinels was written by the template: only there do control tokens (`<image>`, `<|im_start|>`,
`</s>` and so on) count. They are swapped for random names, under which a private copy of the
tokenizer knows them; then the messages' texts are put in and everything is encoded in one go. So a
text can hold any marker and stays text, and for harmless text the ids are those of
`processor.apply_chat_template`, merges over the border of template and text included.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from vqa.control_tokens import control_tokens, renamed
from vqa.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from tokenizers import Tokenizer
    from transformers import LlavaProcessor


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. The pictures stand before the text, as in LLaVA."""

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[Image.Image, ...] = ()


@dataclass(frozen=True)
class EncodedPrompt:
    """Token ids, and for each whether the assistant wrote it (so that training learns it)."""

    input_ids: list[int]  # [L], every picture already as `tokens_per_image` times the image token
    learned: list[bool]  # [L]


def encode(
    processor: LlavaProcessor, messages: Sequence[Message], *, add_generation_prompt: bool
) -> EncodedPrompt:
    """Encode a conversation with the processor's chat template.

    Learned is what an assistant writes: its text and the token that ends its turn, with the white
    space the template puts between the two, and nothing after it. A token that spans the border of
    template and answer (`"▁cat"` of `"ASSISTANT: cat"`) is learned, since the model has to write
    it. Where the template leaves the last answer without an end (LLaVA 1.5), the tokenizer's
    end-of-text token is added and learned, or no answer could learn to end; nothing else differs
    from `processor.apply_chat_template`. Lone surrogates in a text become U+FFFD.

    With `add_generation_prompt` the ids end where the assistant begins to write; the conversation
    must then not end with an answer.

    Raises InputError where the template cannot render the conversation or loses a part of it.
    """
    if not messages:
        raise InputError("The conversation is empty: give at least one message.")
    if add_generation_prompt and messages[-1].role == "assistant":
        raise InputError("The conversation ends with an answer: add the user's next message.")
    texts = [_without_surrogates(message.text) for message in messages]
    codec = _codec(processor)
    while any(codec.marker in text for text in texts):
        codec = _codec(processor, renew=True)

    cores = [text.strip() for text in texts]
    shape = tuple(
        _Slot(message.role, len(message.images), *_edges(text, core), bool(core))
        for message, text, core in zip(messages, texts, cores, strict=True)
    )
    layout = _layout(processor, codec, shape, add_generation_prompt)

    parts = [piece if isinstance(piece, str) else cores[piece] for piece, _ in layout.pieces]
    flags = b"".join(
        (b"\1" if learned else b"\0") * len(part)
        for part, (_, learned) in zip(parts, layout.pieces, strict=True)
    )
    encoding = codec.tokenizer.encode("".join(parts), add_special_tokens=layout.add_special_tokens)
    ids: list[int] = []
    mask: list[bool] = []
    image_id, run = processor.image_token_id, 0
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if token == image_id:
            run = run or tokens_per_image(processor)
            ids.extend([token] * run)
            mask.extend([False] * run)
        else:
            ids.append(token)
            mask.append(b"\1" in flags[start:end])
    eos = processor.tokenizer.eos_token_id
    if layout.open_end and eos is not None:
        if ids[-1:] == [eos]:  # the tokenizer puts it there itself
            mask[-1] = True
        else:
            ids.append(eos)
            mask.append(True)
    return EncodedPrompt(ids, mask)


def tokens_per_image(processor: LlavaProcessor) -> int:
    """Count the image tokens that stand for one picture, as `LlavaProcessor` counts them.

    Raises InputError where the processor does not say it or prepares pictures of varying sizes.
    """
    if not processor.patch_size:
        raise InputError("The processor has no patch_size: set it in its processor_config.json.")
    height, width = _pixel_size(processor.image_processor)
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


@dataclass(frozen=True)
class _Slot:
    """What the template may see of a message: all but the inside of its text."""

    role: str
    images: int
    lead: str  # white space around the text: the template may trim it
    trail: str
    filled: bool


@dataclass(frozen=True)
class _Layout:
    """A rendered conversation without its texts."""

    pieces: tuple[tuple[str | int, bool], ...]  # template text or message number, and if learned
    add_special_tokens: bool
    open_end: bool  # ends with an answer that nothing ends


@dataclass
class _Codec:
    """What encoding needs of one processor, made once."""

    template: str
    marker: str  # the names of all control tokens begin with it, and no text holds it
    names: dict[str, str]  # control token -> its name in the copy
    tokenizer: Tokenizer  # the copy
    as_list: bool = True  # message content as a list of parts, or as one string
    ends: tuple[str, ...] = ()  # control tokens that end a turn
    layouts: dict[tuple[tuple[_Slot, ...], bool], _Layout] = field(default_factory=dict)


_codecs: WeakKeyDictionary[Any, tuple[Any, _Codec]] = WeakKeyDictionary()  # by processor
_pixel_sizes: WeakKeyDictionary[Any, tuple[int, int]] = WeakKeyDictionary()


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


def _codec(processor: Any, renew: bool = False) -> _Codec:
    tokenizer = processor.tokenizer
    template = _template(processor)
    state = (template, processor.image_token, tokenizer, len(tokenizer), tokenizer.eos_token)
    known = _codecs.get(processor)
    if known is not None and known[0] == state and not renew:
        return known[1]
    codec = _build(processor, template)
    _codecs[processor] = (state, codec)
    return codec


def _template(processor: Any) -> str:
    found = processor.chat_template or processor.tokenizer.chat_template
    if isinstance(found, dict):
        found = found.get("default")
    if not found:
        raise InputError(
            "The processor has no chat template: put a chat_template.jinja into the model's "
            "directory."
        )
    return str(found)


def _build(processor: Any, template: str) -> _Codec:
    # First letter nowhere else in the marker: then no text that ends in a part of it completes it.
    marker = "q" + "".join(secrets.choice("abcdefghijklmnoprstuvwxyz") for _ in range(20))
    control = control_tokens(processor, template)
    names = {token: f"{marker}{number:06}" for number, token in enumerate(control)}
    codec = _Codec(template, marker, names, renamed(processor.tokenizer, names))
    codec.as_list = _takes_list(processor, codec)
    ends = [processor.tokenizer.eos_token] if processor.tokenizer.eos_token else []
    turn = (_Slot("user", 0, "", "", True), _Slot("assistant", 0, "", "", True))
    try:
        after = _render(processor, codec, turn, False)[-1]
    except InputError:
        after = ""  # a template that wants more than this of a conversation
    first = _first_control(codec, after)
    if first:
        ends = [first, *(end for end in ends if end != first)]
    codec.ends = tuple(ends)
    return codec


def _takes_list(processor: Any, codec: _Codec) -> bool:
    """Tell whether the template takes lists of parts; templates of text models take strings."""
    probe = (_Slot("user", 1, "", "", True),)
    problems = []
    for codec.as_list in (True, False):
        try:
            pieces = _render(processor, codec, probe, True)
        except InputError as error:
            problems.append(error)
            continue
        if _images(codec, processor, pieces) == 1:
            return codec.as_list
        problems.append(InputError("The chat template leaves out the picture."))
    raise problems[0]


def _images(codec: _Codec, processor: Any, pieces: Sequence[str | int]) -> int:
    name = codec.names[processor.image_token]
    return sum(piece.count(name) for piece in pieces if isinstance(piece, str))


def _first_control(codec: _Codec, after: str | int) -> str | None:
    """Name the control token that a piece of template begins with, white space aside."""
    text = str(after).lstrip()
    return next((token for token, name in codec.names.items() if text.startswith(name)), None)


def _render(
    processor: Any, codec: _Codec, shape: tuple[_Slot, ...], add_generation_prompt: bool
) -> list[str | int]:
    """Render the template: its own text, control tokens renamed, and numbers for the texts.

    An empty text of a user is given as it is (the template may look for that); an answer always
    gets its sentinel, since its place counts.
    """
    import jinja2

    conversation: list[dict[str, Any]] = []
    sentinels: dict[str, int] = {}
    for number, slot in enumerate(shape):
        sentinel = ""
        if slot.filled or slot.role == "assistant":
            sentinel = f"{codec.marker}t{number:06}"
            sentinels[sentinel] = number
        text = slot.lead + sentinel + slot.trail
        parts: list[dict[str, str]] = [{"type": "image"}] * slot.images
        content: Any = [*parts, {"type": "text", "text": text}]
        if not codec.as_list:
            content = f"{processor.image_token}\n" * slot.images + text
        conversation.append({"role": slot.role, "content": content})
    try:
        rendered = processor.apply_chat_template(
            conversation,
            chat_template=codec.template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"The chat template refuses the conversation: {reason}") from error
    control = "|".join(re.escape(token) for token in sorted(codec.names, key=len, reverse=True))
    pieces: list[str | int] = []
    for piece in re.split(f"({codec.marker}t[0-9]{{6}})", rendered):
        if piece in sentinels:
            pieces.append(sentinels[piece])
        else:
            pieces.append(re.sub(control, lambda match: codec.names[match[0]], piece))
    for sentinel, number in sentinels.items():
        if sentinel not in rendered:
            raise InputError(
                f"The chat template leaves out the text of message {number + 1} "
                f"({shape[number].role})."
            )
    return pieces


def _layout(
    processor: Any, codec: _Codec, shape: tuple[_Slot, ...], add_generation_prompt: bool
) -> _Layout:
    key = (shape, add_generation_prompt)
    found = codec.layouts.get(key)
    if found is None:
        found = _lay_out(processor, codec, shape, add_generation_prompt)
        # A template that writes the date is rendered every time, and no stranger fills memory.
        edges = sum(len(slot.lead) + len(slot.trail) for slot in shape)
        if "strftime_now" not in codec.template and len(shape) + edges <= 256:
            if len(codec.layouts) >= 4096:
                codec.layouts.clear()
            codec.layouts[key] = found
    return found


def _lay_out(
    processor: Any, codec: _Codec, shape: tuple[_Slot, ...], add_generation_prompt: bool
) -> _Layout:
    rendered = _render(processor, codec, shape, add_generation_prompt)
    pictures = sum(slot.images for slot in shape)
    if _images(codec, processor, rendered) != pictures:
        raise InputError(
            f"The chat template writes {_images(codec, processor, rendered)} image tokens for "
            f"{pictures} pictures: give pictures with the user's messages only."
        )
    # Rendered once more without the white space around the texts: what is more in the first is
    # white space that belongs to a text and that the template did not trim.
    # A user's text of nothing but white space has no sentinel: it stands in both.
    bare = tuple(
        _Slot(s.role, s.images, "", "", s.filled) if s.filled or s.role == "assistant" else s
        for s in shape
    )
    plain = rendered if bare == shape else _render(processor, codec, bare, add_generation_prompt)
    if [p for p in plain if isinstance(p, int)] != [p for p in rendered if isinstance(p, int)]:
        plain = rendered
    pieces: list[tuple[str | int, bool]] = []
    before: _Slot | None = None
    open_end = False
    for index in range(0, len(rendered), 2):
        after = shape[int(rendered[index + 1])] if index + 1 < len(rendered) else None
        kept_trail, own, kept_lead = _kept(
            str(rendered[index]),
            str(plain[index]),
            before.trail if before else "",
            after.lead if after else "",
        )
        answered = before is not None and before.role == "assistant"
        pieces.append((kept_trail, answered))
        if answered:
            end = _first_control(codec, own)
            learned = 0
            if end in codec.ends:
                learned = own.index(codec.names[end]) + len(codec.names[end])
            elif after is None and shape[-1].role == "assistant":
                learned, open_end = len(own), True
            pieces.append((own[:learned], True))
            own = own[learned:]
        pieces.append((own, False))
        if after is not None:
            pieces.append((kept_lead, after.role == "assistant"))
            pieces.append((int(rendered[index + 1]), after.role == "assistant"))
        before = after
    bos = processor.tokenizer.bos_token
    starts = bos in codec.names and str(rendered[0]).startswith(codec.names[bos])
    filled = tuple((piece, learned) for piece, learned in pieces if piece != "")
    return _Layout(filled, not starts, open_end)


def _kept(rendered: str, plain: str, trail: str, lead: str) -> tuple[str, str, str]:
    """Split a piece of template into white space of the text before, its own, and of the next."""
    for count in range(len(trail), -1, -1):
        rest = len(rendered) - len(plain) - count
        if 0 <= rest <= len(lead):
            kept_lead = lead[len(lead) - rest :]
            if rendered == trail[:count] + plain + kept_lead:
                return trail[:count], plain, kept_lead
    return "", rendered, ""


def _pixel_size(image_processor: Any) -> tuple[int, int]:
    """Give height and width in pixels of every prepared picture, as tried on two shapes."""
    found = _pixel_sizes.get(image_processor)
    if found is None:
        from PIL import Image

        sizes = {
            tuple(image_processor(Image.new("RGB", size))["pixel_values"][0].shape[-2:])
            for size in ((96, 64), (64, 96))
        }
        if len(sizes) > 1:
            raise InputError(
                "The image processor keeps the pictures' shape: set a crop or a fixed size in its "
                "preprocessor_config.json."
            )
        height, width = sizes.pop()
        found = _pixel_sizes[image_processor] = (int(height), int(width))
    return found
