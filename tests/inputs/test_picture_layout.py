"""`load_image`: files in absurdly many parts, or larger than their pixels can need."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import pytest

from tests.inputs.pictures import encoded, picture, reason
from vqa.inputs.images import ImageError, load_image

N = 1 << 20  # bytes of what is put in: what takes long at 100 MB is refused at one, too
JPEG, PNG, GIF, BMP, TIFF, WEBP = (
    encoded(picture(), name) for name in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
)
SCAN, PIXELS = JPEG.index(b"\xff\xda"), PNG.index(b"IDAT") - 4
BLOCKS = GIF.index(b"\x2c")


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def jpeg(*parts: bytes, at: int = 2) -> bytes:
    return JPEG[:at] + b"".join(parts) + JPEG[at:]


def repeated(part: bytes) -> bytes:
    return part * (N // len(part))


def directory(*tags: tuple[int, int, int, int]) -> bytes:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<H", len(tags)) + entries + bytes(4)


MANY = {
    "comments": jpeg(repeated(b"\xff\xfe\0\2")),
    "segments of APP1": jpeg(repeated(b"\xff\xe1\0\4ab")),
    "ICC profiles": jpeg(repeated(b"\xff\xe2\0\x10ICC_PROFILE\0\1\1")),
    "Photoshop": jpeg(repeated(b"\xff\xed\0\x10Photoshop 3.0\0")),
    "fill bytes": jpeg(b"\xff" * N),
    "zeros between segments": jpeg(b"\xff\xfe\0\2" + b"\0" * N),
    "tables": jpeg(repeated(b"\xff\xdb\0\x43\0" + bytes(range(1, 65))), at=SCAN),
    "restart intervals": jpeg(repeated(b"\xff\xdd\0\4\0\1"), at=SCAN),
    "markers alone": jpeg(repeated(b"\xff\xd0")),
    "EXIF": jpeg((b"\xff\xe1\x10\0" + b"Exif\0\0").ljust(4098, b"\0") * 40),
    "EXIF in two segments": jpeg(
        b"\xff\xe1\xff\0Exif\0\0II*\0\x08\0\0\0"
        + directory(*[(40_000 + n, 7, 100_000, 8) for n in range(3000)]).ljust(65_264, b"\0"),
        b"\xff\xe1\xff\0Exif\0\0" + bytes(65_272),
    ),
    "empty scans": jpeg(b"\xff\xda\0\x08\1\1\0\0\x3f\0" * 500, at=SCAN),
    "texts": PNG[:PIXELS] + repeated(chunk(b"tEXt", b"a\0b")) + PNG[PIXELS:],
    "unknown chunks": PNG[:PIXELS] + repeated(chunk(b"abCd")) + PNG[PIXELS:],
    "chunks behind the pixels": PNG[:-12] + repeated(chunk(b"abCd")) + PNG[-12:],
    "empty pixels": PNG[:PIXELS] + chunk(b"IDAT") * 201_000 + PNG[PIXELS:],
    "GIF comments": GIF[:BLOCKS] + repeated(b"\x21\xfe\1a\0") + GIF[BLOCKS:],
    "one GIF comment": GIF[:BLOCKS] + b"\x21\xfe" + repeated(b"\1a") + b"\0" + GIF[BLOCKS:],
    "GIF controls": GIF[:BLOCKS] + repeated(b"\x21\xf9\4\0\0\0\0\0") + GIF[BLOCKS:],
    "zeros between GIF blocks": GIF[:BLOCKS] + bytes(N) + GIF[BLOCKS:],
    "WebP chunks": (
        b"RIFF" + struct.pack("<I", N) + b"WEBPVP8X\x0a" + bytes(13) + repeated(b"abcd\0\0\0\0")
    ),
    "TIFF tags": b"II*\0\x08\0\0\0" + directory(*[(40_000, 7, 10, 300)] * 5000) + bytes(N),
    "TIFF strips": b"II*\0\x08\0\0\0" + directory((273, 4, 250_000, 200)) + bytes(N),
    "TIFF tags that name the same": (
        b"II*\0\x08\0\0\0" + directory(*[(40_000 + n, 7, N, 300) for n in range(100)]) + bytes(N)
    ),
}


@pytest.mark.parametrize("what", MANY)
def test_a_picture_in_too_many_parts_is_refused_at_once(what: str) -> None:
    started = time.process_time()
    assert "is damaged" in (message := reason(MANY[what])) or "scans" in message
    assert time.process_time() - started < 2


@pytest.mark.parametrize("what", ["EXIF", "texts"])
def test_the_reason_names_the_parts(what: str) -> None:
    assert {"EXIF": "32 segments of EXIF", "texts": "too many chunks"}[what] in reason(MANY[what])


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "HEIF", "AVIF"])
def test_a_sparse_file_behind_a_header_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "photo"
    path.write_bytes(encoded(picture(), name))
    with path.open("ab") as file:
        file.truncate(5 << 30)
    started = time.process_time()
    with pytest.raises(ImageError, match="5,368,709,120 bytes"):
        load_image(path)
    assert time.process_time() - started < 1


def test_a_small_picture_needs_no_hundred_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(JPEG)
    with path.open("ab") as file:
        file.truncate(100 << 20)
    assert "104,857,600 bytes, and at most" in reason(path)


def test_what_cameras_and_programs_add_is_read() -> None:
    profile = b"\xff\xe2\x10\x10ICC_PROFILE\0\1\xff".ljust(0x1012, b"\0") * 255
    xmp = b"\xff\xe1\xff\xffhttp://ns.adobe.com/xmp/extension/\0".ljust(0x10001, b"x") * 50
    for data in (
        jpeg(profile, xmp, b"\xff\xff\xff"),
        JPEG + b"....ftypmp42" + bytes(8 << 20),  # a short video behind the photo
        PNG[:PIXELS] + chunk(b"tEXt", b"a\0b") * 2000 + PNG[PIXELS:],
        GIF[:BLOCKS] + (b"\x21\xfe" + b"\xff".ljust(256, b"a") * 3000 + b"\0") + GIF[BLOCKS:],
        WEBP + bytes(N),
        TIFF + bytes(N),
        BMP + bytes(N),
    ):
        assert load_image(data).size == (64, 32)


def test_pixels_in_many_small_pieces_are_read() -> None:
    content = zlib.decompress(
        PNG[PIXELS + 8 : PIXELS + 8 + int.from_bytes(PNG[PIXELS:][:4], "big")]
    )
    packed = zlib.compress(content, 0)
    pieces = b"".join(chunk(b"IDAT", packed[n : n + 1]) for n in range(len(packed)))
    assert load_image(PNG[:PIXELS] + pieces + PNG[-12:]).size == (64, 32)


@pytest.mark.filterwarnings("ignore:Tag data")
def test_exif_whose_tags_name_the_same_bytes_is_left_out() -> None:
    tags = directory(*[(40_000 + n, 7, 60_000, 8) for n in range(3000)])
    exif = (b"II*\0\x08\0\0\0" + tags).ljust(65_000, b"\0")
    data = PNG[:PIXELS] + chunk(b"eXIf", exif) + PNG[PIXELS:]
    assert load_image(data).size == (64, 32)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif
    assert load_image(jpeg(segment)).size == (64, 32)


def test_an_open_file_without_end_is_not_read_whole() -> None:
    class Endless(io.RawIOBase):
        left = 0

        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= (1 << 30) + 1
            Endless.left = size
            return JPEG + bytes(1000)

    assert load_image(Endless()).size == (64, 32)
    assert Endless.left
