"""The protocol of everything that answers: requests in, answers out, one at a time or streamed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from vqa.errors import InputError, VQAError
from vqa.inputs.prompts import Message

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BEAMS = 64
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")


@dataclass(frozen=True)
class SamplingParams:
    """How a completion is generated: greedily at temperature 0, else sampled with the seed.

    `num_beams` over 1 searches for a likely sentence, as transformers' `generate` does: the sum of
    an answer's log probabilities is divided by its number of tokens to the power of
    `length_penalty`. Raises InputError for values that nothing can be generated with.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens}: at least 1 is needed.")
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature is {self.temperature}: 0 or more is needed.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}: more than 0 and at most 1 is needed.")
        if not 1 <= self.num_beams <= MAX_BEAMS:
            raise InputError(f"`num_beams` is {self.num_beams}: 1 to {MAX_BEAMS} are possible.")
        if not -10 <= self.length_penalty <= 10:
            raise InputError(f"`length_penalty` is {self.length_penalty}: -10 to 10 is possible.")
        if self.num_beams > 1 and self.temperature:
            raise InputError(
                f"`num_beams` is {self.num_beams} and `temperature` {self.temperature}: a beam "
                "search does not sample; give one of them."
            )


@dataclass(frozen=True)
class Request:
    """A conversation that ends with a user's message, and how to answer it."""

    messages: tuple[Message, ...]
    settings: SamplingParams = field(default_factory=SamplingParams)

    @property
    def images(self) -> list[Image]:
        """The pictures of all messages, in order."""
        return [image for message in self.messages for image in message.images]


@dataclass(frozen=True)
class Token:
    """A token of an answer: the text that is certain with it, and was not before (often nothing).

    `log_prob` is the natural logarithm of its probability, before temperature.
    """

    text: str
    log_prob: float


@dataclass(frozen=True)
class Seconds:
    """Where the time of one answer went; a batch shares its times."""

    load: float = 0.0  # always 0: a key in histories on disk
    encode: float = 0.0
    first_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What came back for one request.

    `probability` is that of `answer_probability` (before temperature); None where the answerer does
    not know it.
    """

    text: str
    finish_reason: Literal["stop", "length", "cancelled"]
    probability: float | None = None
    image_tokens: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: Seconds = field(default_factory=Seconds)
    # the text put before the question for each picture, such as names of what is in it
    hints: tuple[str, ...] = ()


def answer_probability(log_prob: float, text: str) -> float:
    """Compute how sure an answer is, from the natural log probability of all its tokens.

    The geometric mean over its words (Chinese and Japanese: characters): one word has its own
    probability, and a sentence's does not fall with its length. An end of turn is in `log_prob`,
    where it is known, and is no word.
    """
    return math.exp(min(log_prob, 0.0) / max(word_count(text), 1))


def word_count(text: str) -> int:
    """Count the words of a text; of Chinese and Japanese the characters."""
    return len(_WORD.findall(text))


class Answerer(Protocol):
    """A local model, a remote endpoint, a classifier: commands, chat and page know only this."""

    name: str

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        """Answer all requests, in their order. `cancel`, once set, ends at the next token.

        Raises InputError for a request that cannot be answered, NotFiniteError where the model's
        numbers for one are NaN or infinite.
        """
        ...

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        """Yield pieces of text as they come, and last the whole `Answer`."""
        ...


@runtime_checkable
class SupportsChoices(Protocol):
    """An answerer that computes how likely given answers are."""

    def score_choices(
        self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Compute the natural log probability of each of `choices[i]` as the answer to request i.

        Each is taken as the whole answer, the end of turn included. Temperature has no influence.
        """
        ...


@runtime_checkable
class SupportsIdentity(Protocol):
    """An answerer with a fingerprint of what its answers depend on, beyond its name."""

    @property
    def identity(self) -> str:
        """Fingerprint of the weights, their type and their quantization."""
        ...


class LocalAnswerer(Answerer, SupportsIdentity, Protocol):
    """An answerer with a model in this process."""

    dtype: str  # of its weights, as "bfloat16"


@runtime_checkable
class SupportsClearing(Protocol):
    """An answerer with caches, on which the last digits of what it computes may depend."""

    def clear_caches(self) -> None:
        """Drop all that earlier requests have left."""
        ...


@runtime_checkable
class SupportsEncoderView(Protocol):
    """An answerer that shows a picture as its vision encoder gets it."""

    def encoder_view(self, picture: Image) -> Image:
        """Resize and crop a picture as the encoder's input is."""
        ...


@runtime_checkable
class SupportsAnswerEach(Protocol):
    """An answerer that can fail at one request and answer the others."""

    def answer_each(self, requests: Sequence[Request]) -> Sequence[Answer | VQAError]:
        """Answer all requests, in their order; return the error of one that is refused or fails."""
        ...


class AnswerBatch(Protocol):
    """Answers that are written together, of which each begins and ends on its own.

    One thread uses it. Requests have the caller's keys. What comes of each is its tokens, and last
    its `Answer`, or the error of one that is refused or fails.
    """

    def __len__(self) -> int:
        """Count the answers that are not at their end."""
        ...

    def add(self, requests: Mapping[int, Request]) -> list[tuple[int, Token | Answer | VQAError]]:
        """Begin answers; return their first tokens."""
        ...

    def step(self) -> list[tuple[int, Token | Answer | VQAError]]:
        """Return the next token of each answer that goes on."""
        ...

    def cancel(self, key: int) -> Answer:
        """End an answer that goes on, with its text so far."""
        ...


@runtime_checkable
class SupportsBatches(Protocol):
    """An answerer that takes up further requests while it writes answers."""

    def open_batch(self) -> AnswerBatch:
        """Make an empty batch."""
        ...
