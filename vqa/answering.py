"""The protocol of everything that answers: requests in, answers out, one at a time or streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from vqa.errors import InputError
from vqa.prompts import Message

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Settings:
    """How an answer is generated: greedy at temperature 0, else sampled with the seed.

    Raises InputError for what no answer can be generated with.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens}: at least 1 is needed.")
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature is {self.temperature}: 0 or more is needed.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}: more than 0 and at most 1 is needed.")


@dataclass(frozen=True)
class Request:
    """A conversation that ends with a user's message, and how to answer it."""

    messages: tuple[Message, ...]
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Seconds:
    """Where the time of one answer went; a batch shares its times."""

    load: float = 0.0
    encode: float = 0.0
    first_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What came back for one request.

    `probability` is the product of the probabilities the model gave to the tokens it chose, end of
    turn included (before temperature); None where the answerer cannot tell.
    """

    text: str
    finish: Literal["stop", "length", "cancelled"]
    probability: float | None = None
    image_tokens: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: Seconds = field(default_factory=Seconds)


class Answerer(Protocol):
    """A model here, a remote endpoint, a classifier: the commands, chat and page know only this."""

    name: str

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        """Answer all requests, in their order. `cancel`, once set, ends at the next token."""
        ...

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        """Yield pieces of text as they come, and last the whole `Answer`."""
        ...


@runtime_checkable
class Choosing(Protocol):
    """An answerer that can tell how likely given answers are."""

    def choose(
        self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Natural logarithm of the probability of each of `choices[i]` as the answer to request i.

        Each is taken as the whole answer: the end of turn counts too. Temperature does not.
        """
        ...


@runtime_checkable
class Remembering(Protocol):
    """An answerer that keeps what it has computed, on which last digits may depend."""

    def forget(self) -> None:
        """Keep nothing of what was asked before."""
        ...


@runtime_checkable
class Viewing(Protocol):
    """An answerer that can show a picture as its encoder gets it."""

    def view(self, picture: Image) -> Image:
        """The picture after its resizing and cropping."""
        ...


@runtime_checkable
class AnsweringEach(Protocol):
    """An answerer that can refuse one request and answer the others."""

    def answer_each(self, requests: Sequence[Request]) -> list[Answer | InputError]:
        """Answer all requests, in their order; what is refused gives its InputError."""
        ...
