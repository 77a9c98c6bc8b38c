"""Bodies of `/v1/chat/completions`, and the requests they make."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from PIL.Image import Image
from pydantic import BaseModel, ConfigDict, Discriminator, Field

from vqa.answering import Request, SamplingParams
from vqa.errors import InputError
from vqa.inputs.placeholders import join_with_pictures
from vqa.inputs.prompts import Message

MAX_MESSAGES = 400  # of a conversation
MAX_TEXT = 500_000  # characters of all its messages
MAX_PICTURES = 32  # of all its messages
MAX_STOP_TEXTS = 16
MAX_STOP_LENGTH = 1000  # characters of one
_SMALLEST_TOP_P = 1e-9  # for 0, which OpenAI takes: the likeliest token alone


class Body(BaseModel):
    """What is not read here is ignored: clients send much that only OpenAI's models know."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class ImageURL(Body):
    """Where a picture is: in a `data:` URL, or behind an http(s) one where the server allows it."""

    url: str


class TextPart(Body):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str


class ImagePart(Body):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: ImageURL | str


def urls_of(parts: Sequence[TextPart | ImagePart]) -> list[str]:
    """Return where the pictures of a request are; InputError for too many, or too much text."""
    size = sum(len(part.text) for part in parts if isinstance(part, TextPart))
    if size > MAX_TEXT:
        raise InputError(f"the texts have {size:,} characters: at most {MAX_TEXT:,} are read")
    urls = [
        part.image_url if isinstance(part.image_url, str) else part.image_url.url
        for part in parts
        if isinstance(part, ImagePart)
    ]
    if len(urls) > MAX_PICTURES:
        raise InputError(f"{len(urls)} pictures: at most {MAX_PICTURES} are read in a request")
    return urls


class ChatMessage(Body):
    """A message of a conversation: a text, or pieces of text with pictures between them."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[TextPart | ImagePart, Discriminator("type")]] | None = None

    @property
    def parts(self) -> Sequence[TextPart | ImagePart]:
        """Return the pieces; a text is the only one."""
        if isinstance(self.content, list):
            return self.content
        return [TextPart(type="text", text=self.content or "")]

    def to_message(self, images: Iterator[Image]) -> Message:
        """Make the message, with the next of `images` for each picture of it.

        A picture between texts stands there; pictures before the text, as models know it from
        training, have no place. So do pictures behind it where there are no others: many clients
        write the text first, and mean nothing by it. A line break parts two texts, as in data.
        """
        pieces: list[str] = []  # of text, a picture between two
        before: list[Image] = []
        placed: list[Image] = []
        for part in self.parts:
            if isinstance(part, ImagePart):
                (placed if pieces else before).append(next(images))
                pieces += [""] if pieces else []
            elif part.text and pieces:
                pieces[-1] += f"\n{part.text}" if pieces[-1] else part.text
            elif part.text:
                pieces.append(part.text)
        if not before and not any(pieces[1:]):
            before, placed, pieces = placed, [], pieces[:1]
        text, places = join_with_pictures(pieces or [""])
        role = "system" if self.role == "developer" else self.role
        return Message(role, text, (*before, *placed), places)


class StreamOptions(Body):
    """What a stream has besides its text."""

    include_usage: bool | None = None


class ChatCompletionRequest(Body):
    """A conversation that ends with a user's message, and how to answer it.

    Without `temperature`, or at 0, the answer is greedy: the likeliest token each time. Fields that
    are not listed are accepted and ignored.
    """

    model: str | None = Field(None, description="One of /v1/models; without it, the first.")
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, description="0, the default, is greedy.")
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(
        None, ge=-(2**63), lt=2**63, description="Of the sampling; random without it."
    )
    stop: str | list[str] | None = Field(None, description="Texts before which the answer ends.")
    n: Literal[1] | None = None
    logprobs: bool | None = Field(None, description="With the log probability of each token.")

    @property
    def stop_texts(self) -> list[str]:
        """Return the texts at which the answer stops. Raises InputError for too many."""
        texts = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(texts) > MAX_STOP_TEXTS or any(len(text) > MAX_STOP_LENGTH for text in texts):
            raise InputError(
                f"stop: at most {MAX_STOP_TEXTS} texts of {MAX_STOP_LENGTH:,} characters are taken"
            )
        return [text for text in texts if text]

    @property
    def picture_urls(self) -> list[str]:
        """Return where the pictures of all messages are, in order; InputError for too many."""
        return urls_of([part for message in self.messages for part in message.parts])

    def to_request(self, images: Sequence[Image], max_new_tokens: int) -> Request:
        """Make the request; `images` are those of `picture_urls`.

        Answers have at most `max_new_tokens`, fewer where the client wants it. Raises InputError
        where the last message is not the user's.
        """
        if self.messages[-1].role != "user":
            raise InputError("messages: the last one is not of role user, so nothing is asked")
        rest = iter(images)
        messages = tuple(message.to_message(rest) for message in self.messages)
        return Request(messages, self._settings(max_new_tokens))

    def _settings(self, most: int) -> SamplingParams:
        wanted = self.max_completion_tokens or self.max_tokens or most
        seed = secrets.randbits(62) if self.seed is None else self.seed
        top_p = 1.0 if self.top_p is None else max(self.top_p, _SMALLEST_TOP_P)
        return SamplingParams(min(wanted, most), self.temperature or 0.0, top_p, seed)
