"""Pictures that mean ill."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from PIL import Image

from tests.hostile.harness import Case, Command

_SIZE = 40 << 20  # bytes of what is put in


def _encoded(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, name)
    return file.getvalue()


def _planted(make: Callable[[], bytes], size: int = 0) -> Callable[[Path, ExitStack], Command]:
    """Plant a picture, made `size` bytes long by a hole at its end, and a row about it."""

    def plant(directory: Path, _: ExitStack) -> Command:
        picture = directory / "photo"
        with picture.open("wb") as file:
            file.write(make())
            if size:
                file.truncate(size)
        return Command(["ask", picture, "What is it?"])

    return plant


def _into(name: str, part: bytes, before: bytes = b"", at: int = 0) -> Callable[[], bytes]:
    """Repeat `part` in a picture before the bytes `before`, or at a place."""

    def make() -> bytes:
        data = _encoded(name)
        place = data.index(before) if before else at
        return data[:place] + part * (_SIZE // len(part)) + data[place:]

    return make


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def _bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in some kilobytes."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"x\x9c") * 10


def _zipped_text() -> bytes:
    data = _encoded("PNG")
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200 << 20), 9))
    return data[:33] + text + data[33:]


def _same_tags() -> bytes:
    """A TIFF whose tags all name the same forty megabytes."""
    tags = b"".join(struct.pack("<HHII", 40_000 + n, 7, _SIZE, 300) for n in range(4000))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 4000) + tags + bytes(_SIZE)


_DAMAGED = r"photo is damaged: "
CASES = [
    Case("jpeg-comments", _planted(_into("JPEG", b"\xff\xfe\0\2", at=2)), "too many segments"),
    Case("jpeg-fill", _planted(_into("JPEG", b"\xff", at=2)), _DAMAGED + "more than 65,536 bytes"),
    Case("jpeg-profiles", _planted(_into("JPEG", b"\xff\xe2\0\x10ICC_PROFILE\0\1\1", at=2)),
         "too many segments"),
    Case("jpeg-scans", _planted(_into("JPEG", b"\xff\xda\0\x08\1\1\0\0\x3f\0", b"\xff\xda")),
         "more than 100 scans"),
    Case("jpeg-sparse", _planted(lambda: _encoded("JPEG"), 20 << 30), "21,474,836,480 bytes"),
    Case("png-pixels", _planted(_bomb), "too many pixels"),
    Case("png-chunks", _planted(_into("PNG", _chunk(b"abCd"), at=33)), "too many chunks"),
    Case("png-packed-text", _planted(_zipped_text), _DAMAGED),
    Case("png-sparse", _planted(lambda: _encoded("PNG"), 900 << 20), "943,718,400 bytes"),
    Case("gif-comments", _planted(_into("GIF", b"\x21\xfe\1a\0", b"\x2c")), "too many blocks"),
    Case("gif-zeros", _planted(_into("GIF", b"\0", b"\x2c")), _DAMAGED + "more than 65,536"),
    Case("webp-sparse", _planted(lambda: _encoded("WEBP"), 5 << 30), "5,368,709,120 bytes"),
    Case("tiff-tags", _planted(_same_tags), _DAMAGED + "its tags name"),
]  # fmt: skip
