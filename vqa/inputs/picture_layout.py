"""Check the layout of a picture's file before a reader goes through it.

Readers go from part to part: a file of a hundred megabytes may have a hundred million of them, or
one part that is referred to a thousand times. What a picture can need is known from its size; the
rest is metadata, which has a limit.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO

MAX_BYTES = 1 << 30  # of any file: no pixels need more
BYTES_PER_PIXEL = 16  # at most, in any format that is read: four channels of 16 bits, badly packed
_ALLOWANCE = 64 << 20  # bytes of metadata, or of a short video behind a photo
_SEVERAL = 256 << 20  # bytes, in formats that hold more pictures than the first
_MOST_PARTS = 5_000  # segments, chunks or blocks before the pixels
_MOST_PIECES = 200_000  # into which the pixels are cut
_MOST_FILLING = 1 << 16  # bytes between the parts
_MOST_EXIF = 32  # segments of a JPEG, which a reader puts together
_MOST_TAGS = 4_096
_MOST_IN_TAGS = 64 << 20  # bytes: tags may name the same ones again and again
_STRIPS = frozenset({273, 279, 324, 325})  # tags of a TIFF: where its pixels are
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers of a JPEG without content
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_GIF_TABLE = 0x80  # flag of a colour table

Size = tuple[int, int]


def max_bytes(name: str) -> int:
    """Return the most bytes of a file of a format; those that are read as a whole may have less."""
    return _SEVERAL if name in ("WebP", "AVIF", "HEIC") else MAX_BYTES


def check_layout(file: IO[bytes], size: int, name: str, sizes: list[Size], max_pixels: int) -> None:
    """Raise ValueError for a file that no picture needs to be so large, or in so many parts.

    `size` is that of the file in bytes, `name` that of its format, `sizes` what its header says of
    width and height.
    """
    several = name not in ("JPEG", "BMP")
    walk = _WALKS.get(name)
    if walk is not None:
        sizes = sizes + walk(file, size)
    pixels = max((width * height for width, height in sizes), default=max_pixels)
    most = BYTES_PER_PIXEL * min(pixels, max_pixels) + (_SEVERAL if several else _ALLOWANCE)
    if size > most:
        raise ValueError(f"it has {size:,} bytes, and at most {most:,} are needed for its pixels")


def check_tags(file: IO[bytes], size: int) -> None:
    """Raise ValueError for a directory of tags, as of TIFF and EXIF, that names too many bytes."""
    file.seek(0)
    head = file.read(16)
    order = "little" if head[:2] == b"II" else "big"

    def number(data: bytes) -> int:
        return int.from_bytes(data, order)  # type: ignore[arg-type]

    large = 43 in head[2:4]  # BigTIFF
    width, entry = (8, 20) if large else (4, 12)
    file.seek(number(head[8:16] if large else head[4:8]))
    count = number(file.read(8 if large else 2))
    if count > _MOST_TAGS:
        raise ValueError(f"it has more than {_MOST_TAGS:,} tags")
    tags = file.read(count * entry)
    total = 0
    for at in range(0, len(tags) - entry + 1, entry):
        tag, kind = number(tags[at : at + 2]), number(tags[at + 2 : at + 4])
        values = number(tags[at + 4 : at + 4 + width])
        if tag in _STRIPS and values > _MOST_PIECES:
            raise ValueError(f"its pixels are in more than {_MOST_PIECES:,} pieces")
        total += min(values * _SIZES.get(kind, 1), size)
    if total > _MOST_IN_TAGS:
        raise ValueError(f"its tags name more than {_MOST_IN_TAGS:,} bytes")


def _jpeg(file: IO[bytes], size: int) -> list[Size]:
    """Go through the segments up to the first scan; return the sizes in them."""
    file.seek(2)
    sizes: list[Size] = []
    exif: list[bytes] = []
    filling = 0
    for _ in range(_MOST_PARTS):
        while (byte := file.read(1)) and byte != b"\xff":
            filling = _check_filling(filling + 1)
        while (byte := file.read(1)) == b"\xff":
            filling = _check_filling(filling + 1)
        if not byte or byte in (b"\xd9", b"\xda"):
            if len(exif) > 1:  # one alone is too small to do harm
                check_tags(io.BytesIO(b"".join(exif)), sum(map(len, exif)))
            return sizes
        if byte == b"\0" or byte[0] in _ALONE:
            continue
        length = int.from_bytes(file.read(2), "big")
        if byte[0] in _FRAMES:
            start = file.read(5)
            sizes.append((int.from_bytes(start[3:], "big"), int.from_bytes(start[1:3], "big")))
            file.seek(-len(start), io.SEEK_CUR)
        elif byte == b"\xe1" and length > 8:
            content = file.read(length - 2)
            file.seek(-len(content), io.SEEK_CUR)
            if content.startswith(b"Exif\0\0"):
                exif.append(content[6:])
            if len(exif) > _MOST_EXIF:
                raise ValueError(f"it has more than {_MOST_EXIF} segments of EXIF")
        file.seek(max(0, length - 2), io.SEEK_CUR)
    raise _too_many("segments")


def _png(file: IO[bytes], size: int) -> list[Size]:
    at, pieces, others = 8, 0, 0
    sizes: list[Size] = []
    while at < size:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            break
        if head[4:] == b"IHDR":
            sides = file.read(8)
            sizes.append((int.from_bytes(sides[:4], "big"), int.from_bytes(sides[4:], "big")))
        if head[4:] in (b"IDAT", b"fdAT"):
            pieces += 1
        else:
            others += 1
        if others > _MOST_PARTS and head[4:] != b"fcTL":
            raise _too_many("chunks")
        if pieces + others > _MOST_PIECES:
            raise ValueError(f"its pixels are in more than {_MOST_PIECES:,} pieces")
        at += 12 + int.from_bytes(head[:4], "big")
    return sizes


def _gif(file: IO[bytes], size: int) -> list[Size]:
    """Go through the blocks up to the first picture."""
    file.seek(0)
    head = file.read(13)
    file.seek(3 * 2 ** ((head[10] & 7) + 1) if head[10] & _GIF_TABLE else 0, io.SEEK_CUR)
    parts = filling = 0
    while (byte := file.read(1)) not in (b"", b";", b","):
        if byte != b"!":
            filling = _check_filling(filling + 1)
            continue
        file.read(1)
        while length := file.read(1).strip(b"\0"):
            file.seek(length[0], io.SEEK_CUR)
            parts += 1
            if parts > 4 * _MOST_PARTS:  # sub-blocks have 255 bytes at most
                raise _too_many("blocks")
        parts += 1
    return []


def _bmp(file: IO[bytes], size: int) -> list[Size]:
    file.seek(14)
    head = file.read(12)
    if head[:4] == b"\x0c\0\0\0":
        return [(int.from_bytes(head[4:6], "little"), int.from_bytes(head[6:8], "little"))]
    height = int.from_bytes(head[8:12], "little", signed=True)
    return [(int.from_bytes(head[4:8], "little"), abs(height))]


def _webp(file: IO[bytes], size: int) -> list[Size]:
    file.seek(4)
    at, end = 12, 8 + int.from_bytes(file.read(4), "little")
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or at >= end:
            return []
        at += 8 + (length := int.from_bytes(head[4:], "little")) + length % 2
    raise _too_many("chunks")


def _tiff(file: IO[bytes], size: int) -> list[Size]:
    check_tags(file, size)
    return []


def _check_filling(count: int) -> int:
    if count > _MOST_FILLING:
        raise ValueError(f"more than {_MOST_FILLING:,} bytes stand between its parts")
    return count


def _too_many(parts: str) -> ValueError:
    return ValueError(f"it has too many {parts} before its pixels: save it anew")


_WALKS: dict[str, Callable[[IO[bytes], int], list[Size]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "BMP": _bmp,
    "WebP": _webp,
    "TIFF": _tiff,
}
