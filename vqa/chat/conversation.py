"""A conversation about pictures: its turns so far, and what an answerer is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from vqa.answering import Request, SamplingParams
from vqa.errors import InputError
from vqa.inputs.images import Source, load_image
from vqa.inputs.placeholders import split_at_pictures
from vqa.inputs.prompts import Message

MAX_PICTURES = 8  # in one message
MAX_QUESTION = 8000  # characters
MAX_MESSAGES = 400  # in one conversation, answers included


def check_count(pictures: int) -> None:
    """Raise InputError where one message has too many pictures."""
    if pictures > MAX_PICTURES:
        raise InputError(
            f"{pictures} pictures in one message: at most {MAX_PICTURES} are read; ask in parts."
        )


@dataclass(frozen=True)
class Conversation:
    """The turns so far. Every change gives a new conversation; the old one stays as it was."""

    messages: tuple[Message, ...] = ()
    system: str = ""  # the system prompt

    def ask(
        self, question: str, pictures: Sequence[Source] = (), places: Sequence[int] = ()
    ) -> Conversation:
        """Add the user's next message.

        The last pictures stand at the `places` of the question, as many as those are: characters
        at which an `<image>` begins, as in a `Message`. All others stand before it.

        A question that got no answer is dropped for the new one, which takes over its pictures.
        Raises InputError for an empty or too long question, places that are none, too many
        pictures, a bad one, or a conversation that has become too long.
        """
        self._check(question, len(pictures), places)
        return self.ask_decoded(question, [load_image(picture) for picture in pictures], places)

    def ask_decoded(
        self, question: str, images: Sequence[Image.Image], places: Sequence[int] = ()
    ) -> Conversation:
        """Add the user's next message with pictures that `load_image` gave: these very objects."""
        text, placed = self._check(question, len(images), places)
        before, waiting = self.messages, self.unanswered_pictures
        if before and before[-1].role == "user":
            before = before[:-1]
        message = Message("user", text, (*waiting, *images), placed)
        return replace(self, messages=(*before, message))

    def _check(
        self, question: str, pictures: int, places: Sequence[int]
    ) -> tuple[str, tuple[int, ...]]:
        """Strip a question and move its places accordingly; InputError as `ask` has it."""
        before_words = len(question) - len(question.lstrip())
        question = question.strip()
        placed = tuple(place - before_words for place in places)
        if len(placed) > pictures:
            raise InputError(f"{len(placed)} places in the question for {pictures} pictures.")
        try:
            pieces = split_at_pictures(question, placed)
        except ValueError as error:
            raise InputError(f"The places in the question are wrong: {error}.") from None
        if not any(map(str.strip, pieces)):
            raise InputError("the question is empty: say what you want to know about the picture.")
        if len(question) > MAX_QUESTION:
            raise InputError(
                f"the question has {len(question):,} characters: at most {MAX_QUESTION:,} are read."
            )
        if len(self.messages) >= MAX_MESSAGES:
            raise InputError(
                f"the conversation has {len(self.messages)} messages, the most that are kept: "
                "begin a new one."
            )
        check_count(len(self.unanswered_pictures) + pictures)
        return question, placed

    def answered(self, answer: str) -> Conversation:
        """Add the answer to the last question. An empty one leaves the question unanswered."""
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError("There is no question to answer.")
        if not answer.strip():
            return self
        return replace(self, messages=(*self.messages, Message("assistant", answer)))

    def request(self, settings: SamplingParams | None = None) -> Request:
        """Make the request that an answerer answers the last question by."""
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError("There is no question to answer.")
        system = (Message("system", self.system),) if self.system.strip() else ()
        return Request((*system, *self.messages), settings or SamplingParams())

    @property
    def unanswered_pictures(self) -> tuple[Image.Image, ...]:
        """Return the pictures of the last question, while it has no answer."""
        last = self.messages[-1] if self.messages else None
        return last.images if last and last.role == "user" else ()
