"""Pictures that the tests of `load_image` make, and what they ask of it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from vqa.errors import InputError
from vqa.inputs.images import ImageError, load_image

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"]
RED = (255, 0, 0)
register_heif_opener()  # so that Pillow writes it

# top row, bottom row
CORNERS: list[list[tuple[int, ...]]] = [
    [(255, 0, 0), (0, 255, 0)],
    [(0, 0, 255), (255, 255, 255)],
]


def picture(width: int = 64, height: int = 32) -> Image.Image:
    """Red and green above blue and white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for row in (0, 1):
        for column in (0, 1):
            rows = slice(row * height // 2, (row + 1) * height // 2)
            columns = slice(column * width // 2, (column + 1) * width // 2)
            pixels[rows, columns] = CORNERS[row][column]
    return Image.fromarray(pixels)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, *chunks: bytes, rows: bytes) -> bytes:
    """A PNG made by hand, for what Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + chunk(b"IEND", b"")


def reason(source: object, **options: int) -> str:
    """The message with which `source` is refused: always one line."""
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)  # type: ignore[arg-type]
    assert isinstance(caught.value, InputError)
    message = str(caught.value)
    assert message.isprintable()
    return message


def corner_colours(image: Image.Image) -> list[list[tuple[int, ...]]]:
    width, height = image.size
    return [
        [image.getpixel((x, y)) for x in (width // 4, width * 3 // 4)]  # type: ignore[misc]
        for y in (height // 4, height * 3 // 4)
    ]


def near(image: Image.Image, colours: list[list[tuple[int, ...]]], tolerance: int = 8) -> bool:
    return bool(np.abs(np.array(corner_colours(image)) - np.array(colours)).max() <= tolerance)


def ramp(dtype: str) -> np.ndarray:
    return np.linspace(0, 65535, 256).round().astype(dtype).reshape(16, 16)


def half_clear(mode: str) -> Image.Image:
    """Red (grey for LA) at the left, clear at the right."""
    image = Image.new("RGBA", (8, 4), (255, 0, 0, 255))
    image.paste((0, 200, 0, 0), (4, 0, 8, 4))
    return image.convert(mode)


def resized(image: Image.Image, file_format: str, width: int, height: int) -> bytes:
    """A HEIC or AVIF whose boxes say another size than that of its pixels."""
    data = encoded(image, file_format)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]
