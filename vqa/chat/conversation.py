"""A conversation about pictures: its turns so far, and what an answerer is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from vqa.answering import Request, Settings
from vqa.errors import InputError
from vqa.images import Source, load_image
from vqa.prompts import Message

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
    system: str = ""  # what the model is told before the first question

    def ask(self, question: str, pictures: Sequence[Source] = ()) -> Conversation:
        """Add the user's next message.

        A question that got no answer is dropped for the new one, which takes over its pictures.
        Raises InputError for an empty or too long question, too many pictures, a bad one, or a
        conversation that has become too long.
        """
        question = question.strip()
        if not question:
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
        before, kept = self.messages, self.unanswered_pictures
        if before and before[-1].role == "user":
            before = before[:-1]
        check_count(len(kept) + len(pictures))
        loaded = tuple(load_image(picture) for picture in pictures)
        return replace(self, messages=(*before, Message("user", question, (*kept, *loaded))))

    def answered(self, answer: str) -> Conversation:
        """Add the answer to the last question. An empty one leaves the question unanswered."""
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError("There is no question to answer.")
        if not answer.strip():
            return self
        return replace(self, messages=(*self.messages, Message("assistant", answer)))

    def request(self, settings: Settings | None = None) -> Request:
        """What an answerer needs to answer the last question."""
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError("There is no question to answer.")
        system = (Message("system", self.system),) if self.system.strip() else ()
        return Request((*system, *self.messages), settings or Settings())

    @property
    def unanswered_pictures(self) -> tuple[Image.Image, ...]:
        """The pictures of the last question, while it has no answer."""
        last = self.messages[-1] if self.messages else None
        return last.images if last and last.role == "user" else ()
