"""How a page gets into a picture: before something, turned, tilted, blurred, noisy, compressed."""

from __future__ import annotations

import io
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

_SIDES = (560, 1100)  # pixels of a picture's longer side
_LONG = (1300, 1800)  # of one that is more than twice as high as wide


def photographed(page: Image.Image, ground: Image.Image, rng: random.Random) -> Image.Image:
    """Photograph a page before a ground, or scan it as it is; the text stays readable for people.

    Half of them are flat and straight, as scans and screenshots are.
    """
    long = page.height > 2 * page.width
    scale = rng.randint(*(_LONG if long else _SIDES)) / max(page.size)
    page = page.resize(
        (round(page.width * scale), round(page.height * scale)), Image.Resampling.LANCZOS
    )
    if rng.random() < 0.5:
        return _taken(page, rng)
    layer = page.convert("RGBA")
    if rng.random() < 0.7:
        layer = _tilted(layer, rng)
    angle = rng.choice((rng.gauss(0, 2), rng.gauss(0, 2), rng.uniform(-15, 15)))
    if rng.random() < 0.03:
        angle += rng.choice((90, 180, 270))
    layer = layer.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    share = rng.uniform(0.02, 0.1 if long else 0.35)
    size = (round(layer.width * (1 + share)), round(layer.height * (1 + share)))
    picture = ground.convert("RGB").resize(size)
    left, top = (rng.randint(0, have - need) for have, need in zip(size, layer.size, strict=True))
    picture.paste(layer, (left, top), layer)
    picture.thumbnail((_LONG[1], _LONG[1]) if long else (1280, 1280))
    return _taken(picture, rng)


def _tilted(layer: Image.Image, rng: random.Random) -> Image.Image:
    """Look at a layer from aside: each corner moves inwards by a little."""
    width, height = layer.size
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    moved = [
        (abs(x - rng.uniform(0, 0.07) * width), abs(y - rng.uniform(0, 0.05) * height))
        for x, y in corners
    ]
    return layer.transform(
        layer.size,
        Image.Transform.PERSPECTIVE,
        _perspective(moved, corners).tolist(),
        Image.Resampling.BICUBIC,
    )


def _perspective(
    shown: list[tuple[float, float]], original: list[tuple[int, int]]
) -> NDArray[np.float64]:
    """Solve for the eight numbers by which PIL maps a place that is shown to the original one."""
    rows, values = [], []
    for (x, y), (u, v) in zip(shown, original, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    solved: NDArray[np.float64] = np.linalg.solve(np.array(rows), np.array(values, dtype=float))
    return solved


def _taken(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Add uneven light, blur and noise, none of them to a third of the pictures."""
    if rng.random() < 0.33:
        return picture
    numbers = np.asarray(picture, dtype=np.float32)  # [H, W, 3]
    height, width = numbers.shape[:2]
    light = np.linspace(rng.uniform(0.7, 1.05), rng.uniform(0.7, 1.05), width)[None, :, None]
    light = light * np.linspace(rng.uniform(0.85, 1.0), 1, height)[:, None, None]
    numbers = numbers * light.astype(np.float32)
    noise = np.random.default_rng(rng.randrange(1 << 32)).normal(
        0, rng.uniform(0, 10), (height, width, 1)
    )
    picture = Image.fromarray(np.clip(numbers + noise, 0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.1)))


def as_jpeg(picture: Image.Image, rng: random.Random) -> bytes:
    """Compress a picture as phones and chat programs do."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=rng.randint(45, 92))
    return file.getvalue()
