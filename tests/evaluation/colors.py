"""An answerer that only looks at the middle of a picture, and pictures for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from PIL import Image

from vqa.answering import Answer, Request, SamplingParams
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.picture_conditions import OWN_PICTURE, Condition
from vqa.evaluation.predicting import PredictionCounts, predict


class Colors:
    """Answers with the color in the middle of the picture; refuses to speak of one word."""

    name = "colors"

    def __init__(self, until: int | None = None) -> None:
        self.batches: list[list[str]] = []
        self.asked: list[Request] = []
        self.until = until  # batches before the user presses ctrl-c

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        if self.until is not None and len(self.batches) >= self.until:
            raise KeyboardInterrupt
        (words,) = zip(*((request.messages[-1].text,) for request in requests), strict=True)
        if "forbidden" in words:
            raise InputError("this word\nis not answered")
        self.batches.append(list(words))
        self.asked += requests
        return [Answer(self._look(r), "stop", 0.5) for r in requests]

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        yield from self.answer([request])

    def _look(self, request: Request) -> str:
        image = request.messages[-1].images[0]
        return f"{image.getpixel((image.width // 2, 1))} of {image.size}"


def photo(path: Path, color: str, size: tuple[int, int] = (4, 4)) -> Path:
    Image.new("RGB", size, color).save(path)
    return path


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def run(
    data: Sequence[Example],
    out: Path,
    answerer: Colors | None = None,
    condition: Condition = OWN_PICTURE,
    tokens: int = 8,
    identity: str = "m",
) -> PredictionCounts:
    settings = SamplingParams(max_new_tokens=tokens)
    return predict(
        answerer or Colors(), data, out, settings,
        identity=identity, condition=condition, batch_size=4,
    )  # fmt: skip
