"""A model that says the color of a picture, and files of questions to it."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from threading import Event

from PIL import Image

from vqa.answering import Answer, Request
from vqa.batches import Batches, Run
from vqa.evaluation.predictions import read_predictions

COLORS = ("red", "lime", "blue", "white", "black")


class Painter:
    """Says the color of a picture; `gate` holds it before each batch, and it heeds `cancel`."""

    def __init__(self, name: str = "painter") -> None:
        self.name = name
        self.gate = Event()
        self.gate.set()
        self.batches = 0

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        self.batches += 1
        while not self.gate.wait(0.01):
            if cancel is not None and cancel.is_set():
                return [Answer("", "cancelled") for _ in requests]
        return [self._look(request) for request in requests]

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        yield self._look(request)

    def _look(self, request: Request) -> Answer:
        pixel = request.messages[-1].images[0].getpixel((1, 1))
        return Answer(str(pixel), "stop", 0.5)


def png(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, "PNG")
    return file.getvalue()


def pictures(folder: str = "") -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for color in COLORS:
            archive.writestr(f"{folder}{color}.png", png(color))
    return file


def questions(count: int = 25, **extra: object) -> io.BytesIO:
    rows = [
        {"id": n, "image": f"{COLORS[n % 5]}.png", "question": f"What colour? {n}", "answer": "x"}
        for n in range(count)
    ]
    return io.BytesIO("".join(json.dumps(row | extra) + "\n" for row in rows).encode())


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def answers(batches: Batches, run: Run) -> dict[object, str | None]:
    predictions = read_predictions(batches.store.predictions(run))
    return {key: prediction.text for key, prediction in predictions.items()}
