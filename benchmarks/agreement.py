"""Whether answers depend on the rest of the batch, or on the engine's caches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vqa.answering import Request, SamplingParams
from vqa.data import read
from vqa.engine import LocalEngine
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message

PHOTOS = "astronaut.png chelsea.png coffee.png rocket.jpg camera.png coins.png horse.png"
PHOTOS += " motorcycle_left.png clock_motion.png retina.jpg"
QUESTIONS = [
    "What is in the picture?",
    "What animal is this?",
    "Is there a dog in the image?",
    "Is there a person in the picture?",
    "What color is the largest thing in the picture?",
    "How many people are there?",
    "Describe the picture.",
    "Write a short caption.",
    "Is this inside or outside?",
    "What is in the background?",
    "Is there a cup on a table?",
    "What is the object made of?",
    "Is it day or night?",
    "What is this used for?",
    "How many animals are there?",
    "Is there a cat in the image?",
    "What is on the left?",
    "Where was this photo taken?",
    "Is there a car in the image?",
    "What shape is the thing in the middle?",
]
_TOKENS = 32


def requests_from(data: Path | None, images: Path | None, count: int) -> list[Request]:
    """Return the first `count` questions of a JSONL file; without one, of scikit-image's photos."""
    rows: list[tuple[tuple[str | Path, ...], str]]
    if data is not None:
        rows = [(row.images, row.question) for row in read(data, images, need_answers=False)]
    else:
        import skimage

        folder = Path(skimage.__file__).parent / "data"
        rows = [((folder / name,), text) for name in PHOTOS.split() for text in QUESTIONS]
    opened: dict[str | Path, Image.Image] = {}
    requests = []
    for paths, text in rows[:count]:
        for path in paths:
            if path not in opened:
                opened[path] = load_image(path)
        pictures = tuple(opened[path] for path in paths)
        message = Message("user", text, pictures)
        requests.append(Request((message,), SamplingParams(max_new_tokens=_TOKENS)))
    return requests


def agreement(engine: LocalEngine, requests: Sequence[Request]) -> dict[str, int]:
    """Count the answers whose text is the same as when asked alone of a fresh engine."""
    alone = []
    for request in requests:
        engine.clear_caches()
        alone.append(engine.answer([request])[0].text)
    engine.clear_caches()
    batched = [answer.text for answer in engine.answer(requests)]
    reused = []
    for request in requests:
        engine.clear_caches()
        picture = Message("user", "Tell me about it.", request.messages[0].images)
        engine.answer([Request((picture,), SamplingParams(max_new_tokens=1))])
        reused.append(engine.answer([request])[0].text)
    return {
        "questions": len(requests),
        "different_answers": len(set(alone)),
        "batched_as_single": sum(a == b for a, b in zip(alone, batched, strict=True)),
        "reused_as_fresh": sum(a == b for a, b in zip(alone, reused, strict=True)),
    }
