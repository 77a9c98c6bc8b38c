"""A history of conversations with judged answers, for tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from vqa.chat.history import History

ME = "local"


def png(colour: str, size: tuple[int, int] = (40, 30), kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind, **options)
    return file.getvalue()


def judge(
    history: History,
    question: str,
    answer: str,
    *pictures: bytes,
    rating: int = 0,
    correction: str = "",
    conversation: str | None = None,
    owner: str = ME,
    model: str = "embedded",
    state: str = "done",
    finish: str = "stop",
) -> tuple[str, str]:
    """Ask, answer and judge at the end of a conversation, or of a new one: its id, the answer's."""
    key = conversation or history.start(owner)
    branch = history.branch(owner, key)
    uploads = [(f"{number}.png", content) for number, content in enumerate(pictures)]
    parent = branch[-1].id if branch else None
    asked = history.add_question(owner, key, parent, question, uploads)
    reply = history.add_answer(owner, asked, model)
    about = {"finish": finish, "probability": None, "seconds": {"first_token": 0.1, "total": 0.2}}
    about |= {"image_tokens": 1, "prompt_tokens": 2, "new_tokens": 3}
    history.finish(reply, answer, state, about)  # type: ignore[arg-type]
    if rating:
        history.rate(owner, reply, rating)
    if correction:
        history.correct(owner, reply, correction)
    return key, reply


def several(directory: Path) -> History:
    """Four pictures: two corrected, one confirmed, one refused."""
    history = History(directory)
    judge(history, "What is it?", "a dog", png("red"), rating=-1, correction="a cat")
    judge(history, "What is it?", "a hat", png("green"), correction="a shoe")
    judge(history, "What is it?", "a cup", png("blue"), rating=1)
    judge(history, "What is it?", "a car", png("white"), rating=-1)
    return history
