"""`load_image`: what is too large, cut off, no picture or not allowed, in one line each."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.inputs.pictures import FORMATS, encoded, picture, png, reason, resized
from vqa.inputs.images import load_image


def headers(width: int, height: int) -> dict[str, bytes]:
    """Whole headers of pictures of that size, with hardly any pixels behind."""
    gif = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6)
    clear_first = b"!\xf9\x04\x08\0\0\0\0"  # "fill with background": PIL allocates it at once
    gif += clear_first + b"," + struct.pack("<4H", 0, 0, width, height) + b"\0\x02\x02D\x01\0;"
    jpeg = encoded(picture(), "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    tiff = encoded(Image.new("L", (2, 2)), "TIFF")
    for tag, value in ((256, width), (257, height)):
        at_tag = max(tiff.find(struct.pack("<HHI", tag, kind, 1)) for kind in (3, 4))
        tiff = tiff[:at_tag] + struct.pack("<HHII", tag, 4, 1, value) + tiff[at_tag + 12 :]
    bmp = encoded(picture(), "BMP")
    webp = encoded(picture(), "WEBP", lossless=True)
    return {
        "PNG": png(width, height, 8, 2, rows=bytes(100)),
        "GIF": gif,
        "JPEG": jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :],
        "TIFF": tiff,
        "WEBP": webp[:21] + struct.pack("<I", width - 1 | height - 1 << 14) + webp[25:],
        "BMP": bmp[:18] + struct.pack("<ii", width, height) + bmp[26:],
        "HEIF": resized(picture(), "HEIF", width, height),
        "AVIF": resized(picture(), "AVIF", width, height),
    }


@pytest.mark.parametrize("size", [(30_000, 30_000), (10_000, 10_000)])  # PIL: an error, a warning
@pytest.mark.parametrize("file_format", FORMATS)
def test_too_many_pixels_are_refused_before_decoding(
    file_format: str, size: tuple[int, int]
) -> None:
    if file_format == "WEBP":
        size = min(size, (16_384, 16_384))  # no larger one exists
    data = headers(*size)[file_format]
    tracemalloc.start()
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        message = reason(data)
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert leaked == []
    assert peak < 5_000_000
    assert "too many pixels" in message
    assert f"{size[0]:,} x {size[1]:,}" in message


@pytest.mark.parametrize("file_format", FORMATS)
def test_exactly_as_many_pixels_as_allowed(file_format: str) -> None:
    data = encoded(picture(128, 64), file_format)
    assert "128 x 64; at most 8,191" in reason(data, max_pixels=8191)
    assert load_image(data, max_pixels=8192).size == (128, 64)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0"}])
def test_the_size_in_a_webp_header(options: dict[str, object]) -> None:
    data = encoded(Image.new("RGB", (300, 7)), "WEBP", **options)
    assert "300 x 7" in reason(data[:60], max_pixels=1)  # known without the rest of the file


def test_a_tile_of_a_tiff_counts_where_it_is_larger_than_the_picture() -> None:
    data = zlib.compress(bytes(400 * 500))
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, 400), (323, 500),
            (324, 8), (325, len(data))]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    tiff = head + data + struct.pack("<H", len(tags)) + directory + bytes(4)
    assert load_image(tiff).size == (16, 16)
    assert "400 x 500; at most 199,999" in reason(tiff, max_pixels=199_999)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_repeats_its_scans_is_refused(progressive: bool) -> None:
    data = encoded(picture(), "JPEG", progressive=progressive, exif=b"Exif\0\0\xff\xda" * 200)
    assert load_image(data).size == (64, 32)
    last = data.rindex(b"\xff\xda")
    scans = data[:-2] + data[last:-2] * 101 + data[-2:]
    assert "more than 100 scans" in reason(scans)
    assert load_image(data + data[last:-2] * 101).size == (64, 32)  # behind its end: never read


def test_the_limit_is_ours_and_not_that_of_pil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for file_format in ("JPEG", "PNG", "BMP", "GIF"):
        assert load_image(encoded(picture(), file_format)).size == (64, 32)


def test_pil_images_are_limited_too() -> None:
    assert "(20 x 30; at most 599 in all)" in reason(Image.new("RGB", (20, 30)), max_pixels=599)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_file_cut_off(file_format: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    data = encoded(Image.fromarray(noise), file_format)
    assert "ends too early" in reason(data[: int(len(data) * part)])


@pytest.mark.parametrize("options", [{"progressive": True}, {"quality": 95}])
def test_half_a_jpeg(options: dict[str, object]) -> None:
    data = encoded(picture(400, 400), "JPEG", **options)
    assert "ends too early" in reason(data[: len(data) // 2])


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
def test_half_a_compressed_tiff(compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "TIFF", compression=compression)
    assert load_image(data).size == (100, 100)
    reason(data[: len(data) // 2])
    reason(data[: len(data) - 200])
    if compression != "jpeg":  # libjpeg writes to the terminal by itself
        assert capfd.readouterr() == ("", "")


def test_what_is_no_picture(tmp_path: Path) -> None:
    for content, expected in (
        (b"", "is empty"),
        (b"this is a text\n", "is text, not a picture: check the path."),
        ("Ein Text über München".encode(), "is text, not a picture"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing or other XML, which is"),
        (b'<?xml version="1.0"?>\n<svg/>', "SVG"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not a picture: download the picture itself."),
        (b"version https://git-lfs.github.com/spec/v1\noid", "`git lfs pull`"),
        (b"\0\0\0\x18ftypavif", "ends too early"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "ends too early"),
        (b"\0\0\0\x18ftypqt  ", "is a video, not a picture: take frames out of it."),
        (b"\x1a\x45\xdf\xa3\1\0\0\0", "is a video, not a picture"),
        (b"RIFF\x24\0\0\0AVI LIST", "is a video, not a picture"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "is a sound recording, not a picture."),
        (b"ID3\3\0\0", "is a sound recording, not a picture."),
        (b"\0\0\0\x18ftypM4A ", "is a sound recording, not a picture."),
        (b"%PDF-1.7", "is a PDF, not a picture: save its pages as pictures."),
        (b"PK\3\4\x14\0", "is a zip file, not a picture: unpack it."),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "is a picture in JPEG XL, which is not read: convert it to"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "is a picture in JPEG 2000, which is not read"),
        (b"8BPS\0\1", "is a picture of Photoshop (PSD), which is not read"),
        (bytes(1000), "is no picture, or one of a format which is not read: convert it to JPEG"),
    ):
        path = tmp_path / "holiday.jpg"
        path.write_bytes(content)
        message = reason(path)
        assert expected in message
        assert message.startswith(str(path))
        assert expected in reason(content)


def test_formats_that_pil_knows_and_we_refuse() -> None:
    for file_format in ("PPM", "ICO", "TGA", "EPS", "PCX"):
        assert "which is not read: convert it to JPEG, PNG" in reason(
            encoded(picture(), file_format)
        )


@pytest.mark.parametrize(
    "url", ["http://example.org/cat.jpg", "HTTPS://x/y", "file:///etc/passwd", "data:image/png,x"]
)
def test_urls_are_refused(url: str) -> None:
    assert "is a URL: download" in reason(url)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in reason(tmp_path / "none.jpg")
    assert "no such file" in reason("")
    assert "is a directory" in reason(tmp_path)
    assert "cannot be read" in reason("a\0b")
    assert "cannot be read" in reason("x" * 5000)
    assert "cannot be read" in reason(tmp_path / ("y" * 300))
    assert "not a file" in reason("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in reason(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    assert "cannot be read: Not a directory" in reason(tmp_path / "file" / "x.jpg")
    assert "no such file" in reason(tmp_path / "line\nbreak")
    assert "no such file" in reason(os.fsdecode(b"/tmp/none-\xff"))


WITHOUT_RIGHTS = """
import os, sys
from vqa.inputs.images import ImageError, load_image
if os.geteuid() == 0:  # root may read everything
    os.setuid(65534)
try:
    load_image(sys.argv[1])
except ImageError as error:
    print(error)
"""


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(picture(), "PNG"))
    path.chmod(0)
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS, path], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"{path} cannot be read: Permission denied.\n"


def test_a_file_that_fails_while_it_is_read() -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            raise OSError(5, "Input/output error")

    assert "Input/output error" in reason(Broken())


def test_what_is_no_source_at_all() -> None:
    assert "A int is no picture" in reason(3)
    assert "A NoneType is no picture" in reason(None)
    assert "binary mode" in reason(io.StringIO("text"))


def test_empty_and_broken_pil_images() -> None:
    assert "no pixels" in reason(Image.new("RGB", (0, 5)))
    data = encoded(picture(), "PNG")
    assert "damaged" in reason(Image.open(io.BytesIO(data[: len(data) // 2])))
    closed = Image.new("RGB", (2, 2))
    closed.close()
    reason(closed)
