"""An answerer for tests of the page: it says what it was asked, word by word."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vqa.answering import Answer, Request, Seconds
from vqa.errors import VQAError


class Parrot:
    """`slow` in a question makes it take long, `unhurried` seconds, `fail` fails, `cut` cuts off.

    `endless` makes it speak for longer than any test takes, until it is stopped. It is sure of its
    answers; `doubt` in the question makes it doubt. `wait` makes it think for half a second first,
    `colour` makes it name the colour of the conversation's first picture; of a `sign` it gets
    hints. `hardly` makes it doubt very much, `oneword` say one word; what is `measured` took time.
    It looks at the upper left of any picture.
    """

    name = "parrot"

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        answers = [list(self.stream(request, cancel))[-1] for request in requests]
        return [answer for answer in answers if isinstance(answer, Answer)]

    def attention_map(self, request: Request) -> NDArray[np.float32]:
        return np.pad(np.ones((2, 2), np.float32), (0, 6))

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        self.requests.append(request)
        pictures = sum(len(message.images) for message in request.messages)
        question = request.messages[-1].text
        words = f"With {pictures} pictures you asked: {question}".split(" ")
        if "oneword" in question:
            words = ["Yes."]
        if "slow" in question:
            words += ["word"] * 300
        if "endless" in question:
            words += ["word"] * 10_000
        if "unhurried" in question:
            words += [*["word"] * 40, "the", "end"]
        if "colour" in question:
            first = request.images[0]
            words.append(f"#{bytes(first.getpixel((0, 0))).hex()}")  # type: ignore[arg-type]
        if "wait" in question:
            time.sleep(0.5)
        answer = ""
        for word in words:
            if cancel and cancel.is_set():
                yield Answer(answer, "cancelled")
                return
            if any(pace in question for pace in ("slow", "unhurried", "endless")):
                time.sleep(0.05)
            if word == "fail":
                raise VQAError("the parrot is asleep")
            answer += word + " "
            yield word + " "
        finish: Literal["length", "stop"] = "length" if "cut" in question else "stop"
        hints = ('[names: likely tabby]\n[text: "STOP" / "Town"]', '[text: "GO"]')
        yield Answer(
            answer.strip(),
            finish,
            0.123 if "doubt" in question else 0.0003 if "hardly" in question else 0.9,
            hints=hints if "sign" in question else (),
            new_tokens=21 if "measured" in question else 0,
            seconds=Seconds(first_token=0.5, total=1.5) if "measured" in question else Seconds(),
        )
