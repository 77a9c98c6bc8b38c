"""The OpenAI chat-completions format: requests as JSON bodies, replies as answers."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator

from vqa.answering import Answer, Request, Seconds, answer_probability
from vqa.errors import InputError, NotFiniteError
from vqa.inputs.placeholders import message_parts, split_at_pictures

if TYPE_CHECKING:
    from PIL import Image

    from vqa.inputs.prompts import Message

# finish reasons of no whole answer; no tools are offered
_BROKEN_OFF = {"abort", "error", "content_filter", "tool_calls", "function_call"}
_MAX_TOKENS = 10_000_000  # in a request or an answer; larger counts are wrong


def request_body(
    request: Request,
    model: str,
    *,
    logprobs: bool,
    stream: bool,
    url_of: Callable[[Image.Image], str],
) -> bytes:
    """Write a request as JSON; `url_of` gives the URL under which the endpoint finds a picture.

    Raises InputError where the conversation does not end with a user's message, or it asks for
    beam search.
    """
    if not request.messages:
        raise InputError("The conversation is empty: give at least one message.")
    if request.messages[-1].role == "assistant":
        raise InputError("The conversation ends with an answer: add the user's next message.")
    settings = request.settings
    if settings.num_beams > 1:
        raise InputError("`num_beams`: endpoints of this protocol have no beam search.")
    content: dict[str, Any] = {
        "model": model,
        "messages": [_message(message, url_of) for message in request.messages],
        "max_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": settings.seed,
    }
    if logprobs:
        content["logprobs"] = True
    if stream:
        content |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(content).encode()


def max_reply_bytes(max_new_tokens: int) -> int:
    """Bound the bytes of a completion of so many tokens, each with its fields of the format."""
    return (1 << 20) + max_new_tokens * (1 << 12)


def data_url(image: Image.Image) -> str:
    """Write a picture as a `data:` URL in PNG.

    PNG is larger than JPEG, but the endpoint gets the same pixels as a model in this process: a
    score must not depend on how the picture travelled.
    """
    plain = image.convert("RGB")
    plain.info = {}  # no colour profile: nobody here applies one
    file = io.BytesIO()
    plain.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _message(message: Message, url_of: Callable[[Image.Image], str]) -> dict[str, Any]:
    # a lone surrogate is no character: JSON would carry it, and the endpoint refuse it
    texts = [
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for text in split_at_pictures(message.text, message.places)
    ]
    if not message.images:
        return {"role": message.role, "content": texts[0]}
    rest = iter(message.images)
    content = [
        {"type": "image_url", "image_url": {"url": url_of(next(rest))}}
        if part is None
        else {"type": "text", "text": part}
        for part in message_parts(len(message.images) - len(message.places), texts)
    ]
    return {"role": message.role, "content": content}


class _Text(BaseModel):
    content: str | None = None


class _Token(BaseModel):
    logprob: float | None = None


class _Tokens(BaseModel):
    content: list[_Token] | None = None


class _Choice(BaseModel):
    message: _Text | None = None
    delta: _Text | None = None
    finish_reason: str | None = None
    logprobs: _Tokens | None = None


def _plausible(count: Any) -> int:
    """Return a number of tokens; 0 for what cannot be one."""
    integer = isinstance(count, int) and not isinstance(count, bool)
    return count if integer and 0 <= count <= _MAX_TOKENS else 0


_Count = Annotated[int, BeforeValidator(_plausible)]


class _Usage(BaseModel):
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0


class _Part(BaseModel):
    """A whole reply, or one event of a stream. Unknown fields are ignored."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


@dataclass
class CompletionReply:
    """The completion as far as the endpoint has sent it."""

    text: str = ""
    finish_reason: str | None = None  # in the endpoint's words
    logprobs: list[float | None] = field(default_factory=list)  # one for each token
    usage: _Usage = field(default_factory=_Usage)

    def add(self, raw: str | bytes) -> str:
        """Add a whole reply or one event of a stream; return the text in it.

        Raises ValueError where it is neither, or reports a failure.
        """
        try:
            part = _Part.model_validate_json(raw)
        except ValueError as error:  # pydantic's takes many lines
            start = raw[:400].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:400]
            raise ValueError(f"no chat completion, but {' '.join(start.split())!r}") from error
        if part.error:
            raise ValueError(error_message(raw))
        self.usage = part.usage or self.usage
        added = ""
        for choice in part.choices[:1]:
            message = choice.message or choice.delta
            added = (message.content if message else None) or ""
            self.finish_reason = choice.finish_reason or self.finish_reason
            if choice.logprobs and choice.logprobs.content:
                self.logprobs += [token.logprob for token in choice.logprobs.content]
        self.text += added
        return added

    def check(self) -> None:
        """Raise ValueError unless the answer has come to its end."""
        if self.finish_reason is None:
            raise ValueError("the answer has no finish_reason: it broke off")
        if self.finish_reason in _BROKEN_OFF:
            raise ValueError(f"the answer ended with finish_reason {self.finish_reason!r}")

    def answer(self, seconds: Seconds) -> Answer:
        """Convert it to an answer. Endpoints may leave the end of turn out of the probability.

        Raises NotFiniteError where a logprob is NaN or infinite: the text means nothing then.
        """
        if any(value is not None and not value < math.inf for value in self.logprobs):
            raise NotFiniteError(
                "the endpoint gives NaN for a probability: serve the model in float32", wider=False
            )
        text = self.text.strip()
        return Answer(
            text=text,
            finish_reason="length" if self.finish_reason == "length" else "stop",
            probability=_probability(self.logprobs, text),
            prompt_tokens=self.usage.prompt_tokens,
            new_tokens=self.usage.completion_tokens or len(self.logprobs),
            seconds=seconds,
        )


def _probability(logprobs: list[float | None], text: str) -> float | None:
    finite = [value for value in logprobs if value is not None and math.isfinite(value)]
    if not logprobs or len(finite) < len(logprobs):
        return None
    return answer_probability(math.fsum(finite), text)


def error_message(raw: str | bytes) -> str:
    """Extract the message of an endpoint's error; one line, of any length."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    try:
        error = json.loads(text)
        for key in ("error", "message", "detail"):
            if isinstance(error, dict) and error.get(key):
                error = error[key]
        text = error if isinstance(error, str) else json.dumps(error)
    except (ValueError, RecursionError):
        pass
    return " ".join(text.split())
