"""Text over photos: a line or two that hides little of what the photo shows."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

from training.mix.rendered.page import fitted

_SIDES = (480, 900)  # pixels of the photo's longer side
_COLORS = ("white", "white", "yellow", "black", "red", "cyan")


def enlarged(photo: Image.Image, rng: random.Random) -> Image.Image:
    """Scale a photo to the size of those that phones and chat programs send."""
    scale = rng.randint(*_SIDES) / max(photo.size)
    return photo.resize(
        (round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC
    )


def draw_over(photo: Image.Image, text: str, font: Path, rng: random.Random) -> Image.Image:
    """Write `text` at the top or the bottom of a photo, on a band or with an outline."""
    picture = photo.copy()
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    lines = [text]
    if len(text) > 24:
        words = text.split()
        lines = [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])]
    letters = fitted(font, round(height * rng.uniform(0.06, 0.09)), lines, width * 0.92)
    high = round(letters.size * 1.3)
    top = rng.choice((round(height * 0.02), height - high * len(lines) - round(height * 0.03)))
    color = rng.choice(_COLORS)
    if rng.random() < 0.4:
        ground = "black" if color != "black" else "white"
        draw.rectangle((0, top, width, top + high * len(lines)), fill=ground)
    for place, line in enumerate(lines):
        left = (width - letters.getlength(line)) / 2
        draw.text(
            (left, top + place * high), line, font=letters, fill=color,
            stroke_width=max(1, int(letters.size) // 14),
            stroke_fill="black" if color != "black" else "white",
        )  # fmt: skip
    return picture
