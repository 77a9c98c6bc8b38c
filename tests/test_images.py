from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_heif import register_heif_opener

from vqa.errors import InputError
from vqa.images import ImageError, load_image

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF"]
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


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_from_every_kind_of_source(file_format: str, tmp_path: Path) -> None:
    data = encoded(picture(), file_format)
    path = tmp_path / "picture.wrong"  # content counts, not the name
    path.write_bytes(data)
    with open(path, "rb") as file:
        file.read(7)  # a file that was read before starts from its beginning
        sources = [path, str(path), data, bytearray(data), io.BytesIO(data), file]
        images = [load_image(source) for source in sources]  # type: ignore[arg-type]
    with Image.open(path) as opened:
        images.append(load_image(opened))
    for image in images:
        assert type(image) is Image.Image
        assert image.mode == "RGB"
        assert image.size == (64, 32)
        assert image.info == {}
        assert near(image, CORNERS)
        assert image.tobytes() == images[0].tobytes()


def test_a_file_that_cannot_seek(tmp_path: Path) -> None:
    read, write = os.pipe()
    with open(read, "rb") as file, open(write, "wb") as writer:
        writer.write(encoded(picture(), "PNG"))
        writer.close()
        assert near(load_image(file), CORNERS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"])
def test_exif_rotation(file_format: str, orientation: int) -> None:
    undo = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    turned = picture()
    if undo > 1:
        turned.getexif()[0x0112] = undo
        turned = load_image(turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(turned, file_format, exif=exif.tobytes(), **options)
    image = load_image(data)
    assert image.size == (64, 32)
    assert near(image, CORNERS)
    assert load_image(image).tobytes() == image.tobytes()  # not turned once more
    with Image.open(io.BytesIO(data)) as opened:
        assert load_image(opened).tobytes() == image.tobytes()


def test_rotation_is_right_against_hand_made_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the top of the scene is at the right of the rows
    image = load_image(encoded(picture(), "PNG", exif=exif))
    assert image.size == (32, 64)
    assert corner_colours(image) == [[(0, 0, 255), RED], [(255, 255, 255), (0, 255, 0)]]


def test_damaged_exif_does_not_make_a_good_picture_bad() -> None:
    image = load_image(encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"))
    assert near(image, CORNERS)


def test_cmyk() -> None:
    assert near(load_image(encoded(picture().convert("CMYK"), "JPEG")), CORNERS)
    assert near(load_image(encoded(picture().convert("CMYK"), "TIFF")), CORNERS)


def ramp(dtype: str) -> np.ndarray:
    return np.linspace(0, 65535, 256).round().astype(dtype).reshape(16, 16)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bits_are_scaled(file_format: str) -> None:
    data = encoded(Image.fromarray(ramp("uint16")), file_format)
    grey = np.asarray(load_image(data))[..., 0].ravel()
    assert grey.tolist() == list(range(256))


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "int32"])
def test_16_bits_in_every_mode_are_scaled(dtype: str) -> None:
    image = Image.fromarray(ramp(dtype))
    assert image.mode in ("I;16", "I;16B", "I")
    assert np.asarray(load_image(image))[..., 2].ravel().tolist() == list(range(256))


def test_a_dark_16_bit_picture_stays_dark() -> None:
    image = Image.fromarray(np.full((4, 4), 200, np.uint16))
    assert load_image(image).getpixel((0, 0)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([0.0, 1e4, 2e4], [0, 128, 255]),
        ([-3e38, 0.0, 3e38], [0, 128, 255]),
        ([float("nan"), 0.0, 1.0], [0, 0, 255]),
    ],
)
def test_floats_are_scaled(values: list[float], expected: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert np.asarray(load_image(data))[0, :, 0].tolist() == expected


def test_integers_beyond_16_bits_are_scaled() -> None:
    data = encoded(Image.fromarray(np.array([[-2_000_000, 0, 2_000_000]], np.int32)), "TIFF")
    assert np.asarray(load_image(data))[0, :, 0].tolist() == [0, 128, 255]


def half_clear(mode: str) -> Image.Image:
    """Red (grey for LA) at the left, clear at the right."""
    image = Image.new("RGBA", (8, 4), (255, 0, 0, 255))
    image.paste((0, 200, 0, 0), (4, 0, 8, 4))
    return image.convert(mode)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_put_on_white(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    for mode in ("RGBA", "LA") if file_format != "WEBP" else ("RGBA",):
        image = load_image(encoded(half_clear(mode), file_format, **options))
        assert image.getpixel((6, 2)) == (255, 255, 255)
        assert image.getpixel((1, 2)) == (RED if mode == "RGBA" else (76, 76, 76))


def test_half_transparent_red_becomes_pink() -> None:
    image = load_image(Image.new("RGBA", (2, 2), (255, 0, 0, 128)))
    assert image.getpixel((0, 0)) == (255, 127, 127)


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA"])
def test_every_mode_with_alpha(mode: str) -> None:
    rgba = half_clear("RGBA")
    if mode == "PA":
        image = rgba.convert("RGB").convert("P").convert("PA")
        image.putalpha(rgba.getchannel("A"))
    else:
        image = rgba.convert("LA").convert(mode) if mode == "La" else rgba.convert(mode)
    before = image.tobytes()
    assert load_image(image).getpixel((6, 2)) == (255, 255, 255)
    assert image.tobytes() == before
    assert image.mode == mode


def test_palette_transparency() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putdata([0, 1])
    for transparency in (1, b"\xff\x00"):
        for file_format in ("PNG", "GIF")[: 1 if transparency != 1 else 2]:
            image = load_image(encoded(palette, file_format, transparency=transparency))
            assert list(image.get_flattened_data()) == [RED, (255, 255, 255)]


def test_one_transparent_colour_in_8_and_16_bits() -> None:
    white = (255, 255, 255)
    rgb8 = png(2, 1, 8, 2, chunk(b"tRNS", struct.pack(">3H", 0, 9, 0)), rows=b"\0\xff\0\0\0\x09\0")
    assert list(load_image(rgb8).get_flattened_data()) == [RED, white]
    rows = b"\0" + struct.pack(">6H", 0xFFFF, 0, 0, 0, 0x9000, 0)
    rgb16 = png(2, 1, 16, 2, chunk(b"tRNS", struct.pack(">3H", 0, 0x9000, 0)), rows=rows)
    assert list(load_image(rgb16).get_flattened_data()) == [RED, white]
    rows = b"\0" + struct.pack(">2H", 0x8080, 0x0001)
    grey16 = png(2, 1, 16, 0, chunk(b"tRNS", struct.pack(">H", 1)), rows=rows)
    assert list(load_image(grey16).get_flattened_data()) == [(128, 128, 128), white]
    grey8 = png(2, 1, 8, 0, chunk(b"tRNS", struct.pack(">H", 1)), rows=b"\0\x80\x01")
    assert list(load_image(grey8).get_flattened_data()) == [(128, 128, 128), white]


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "HSV"])
def test_other_modes(mode: str) -> None:
    black_and_white = Image.new("RGB", (4, 2), "white")
    black_and_white.paste("black", (0, 0, 2, 2))
    image = load_image(black_and_white.convert(mode))
    assert image.getpixel((0, 0)) == (0, 0, 0)
    assert min(image.getpixel((3, 1))) >= 254  # type: ignore[arg-type]


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert load_image(data).getpixel((4, 4)) == RED


def test_first_picture_of_a_multi_picture_jpeg() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert near(load_image(data), [[RED, RED], [RED, RED]])


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
@pytest.mark.parametrize("file_format", FORMATS[:-1])  # x265 does not write them as HEIC
def test_extreme_shapes(file_format: str, size: tuple[int, int]) -> None:
    assert load_image(encoded(Image.new("RGB", size, "red"), file_format)).size == size


def resized_heic(image: Image.Image, width: int, height: int) -> bytes:
    """A HEIC whose header says another size than that of its pixels."""
    data = encoded(image, "HEIF")
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def test_a_heic_may_not_be_larger_than_its_header_says() -> None:
    data = resized_heic(picture(640, 320), 64, 64)
    assert "is damaged" in reason(data, max_pixels=64 * 64)


def test_a_heic_may_not_hide_its_size_by_cropping() -> None:
    data = encoded(picture(), "HEIF")
    assert b"clap" in data  # coded as 64 x 64
    assert "(64 x 64; at most 4,095 in all)" in reason(data, max_pixels=64 * 64 - 1)
    assert load_image(data, max_pixels=64 * 64).size == (64, 32)


def test_heics_laid_over_each_other_are_refused() -> None:
    data = encoded(picture(), "HEIF")
    assert "laid over each other" in reason(data.replace(b"hvc1", b"iovl", 1))


def test_a_heic_is_turned_once_and_without_its_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(), "HEIF", exif=exif.tobytes())
    assert b"irot" in data
    assert load_image(data).size == (32, 64)
    at = data.index(b"irot")  # no rotation of HEIF's own: then what EXIF says has no meaning
    assert load_image(data[:at] + b"free" + data[at + 4 :]).size == (64, 32)


def test_a_heic_gives_the_picture_that_it_shows_first_and_no_thumbnail() -> None:
    frames = [Image.new("RGB", (128, 96), colour) for colour in ("lime", "red", "blue")]
    data = encoded(
        frames[0], "HEIF", save_all=True, append_images=frames[1:], primary_index=1, thumbnails=[64]
    )
    image = load_image(data)
    assert image.size == (128, 96)
    assert near(image, [[RED, RED], [RED, RED]])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_modes_of_a_heic(mode: str) -> None:
    image = Image.new(mode, (64, 64), 0)
    loaded = load_image(encoded(image, "HEIF"))
    assert loaded.mode == "RGB"
    expected = (255, 255, 255) if mode == "RGBA" else (0, 0, 0)
    assert near(loaded, [[expected] * 2] * 2)


def test_a_heic_cut_off_anywhere() -> None:
    data = encoded(picture(), "HEIF")
    for end in range(12, len(data)):
        reason(data[:end])


def test_the_reader_of_heic_is_loaded_with_the_first_one(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(encoded(picture(), "HEIF"))
    (tmp_path / "a.png").write_bytes(encoded(picture(), "PNG"))
    code = """
import sys
from vqa.images import load_image
load_image("a.png")
assert "pillow_heif" not in sys.modules
assert load_image("a.heic").size == (64, 32)
assert "pillow_heif" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


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
        "HEIF": resized_heic(picture(), width, height),
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
        (b"this is a text\n", "is text"),
        ("Ein Text über München".encode(), "is text"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'<?xml version="1.0"?>\n<svg/>', "SVG"),
        (b"\0\0\0\x18ftypavif", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypqt  ", "a video"),
        (b"%PDF-1.7", "PDF"),
        (bytes(1000), "something else"),
    ):
        path = tmp_path / "holiday.jpg"
        path.write_bytes(content)
        message = reason(path)
        assert expected in message
        assert message.startswith(str(path))
        assert expected in reason(content)


def test_formats_that_pil_knows_and_we_refuse() -> None:
    for file_format in ("PPM", "ICO", "TGA", "EPS", "PCX"):
        assert "not a picture: convert it" in reason(encoded(picture(), file_format))


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
from vqa.images import ImageError, load_image
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


def test_no_handle_is_left_open(tmp_path: Path) -> None:
    paths = []
    for file_format in FORMATS:
        frames = [picture(), picture()]
        data = encoded(frames[0], file_format)
        if file_format in ("GIF", "TIFF", "WEBP", "PNG"):
            data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
        for name, content in (("whole", data), ("half", data[: len(data) // 2])):
            paths.append(tmp_path / f"{name}.{file_format}")
            paths[-1].write_bytes(content)
    lzw = encoded(picture(), "TIFF", compression="tiff_lzw")
    paths.append(tmp_path / "lzw.tiff")
    paths[-1].write_bytes(lzw)
    paths.append(tmp_path / "lzw-half.tiff")
    paths[-1].write_bytes(lzw[:-20])
    before = os.listdir("/proc/self/fd")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for path in paths * 3:
            try:
                load_image(path)
            except ImageError as error:
                assert "half" in str(error)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_the_source_stays_open_and_as_it_was() -> None:
    file = io.BytesIO(encoded(picture(), "PNG"))
    load_image(file)
    assert not file.closed
    image = half_clear("RGBA")
    load_image(image)
    assert image.tobytes() == half_clear("RGBA").tobytes()
    same = picture()
    load_image(same).paste("black", (0, 0, 64, 32))
    assert near(same, CORNERS)


def test_many_threads_at_once() -> None:
    datas = [encoded(picture(200, 100), file_format) for file_format in FORMATS]
    expected = [load_image(data).tobytes() for data in datas]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(10):
            for number, data in enumerate(datas):
                if load_image(data).tobytes() != expected[number]:
                    wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def loads_or_refuses(load: Callable[[], Image.Image]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = load()
        except ImageError as error:
            assert str(error).isprintable()
        else:
            assert image.mode == "RGB"
            assert image.tobytes()


VALID = [encoded(picture(), file_format) for file_format in FORMATS] + [
    encoded(half_clear("RGBA"), "PNG"),
    encoded(half_clear("RGBA"), "WEBP"),
    encoded(picture().convert("P"), "GIF", save_all=True, append_images=[picture()]),
    encoded(picture(), "JPEG", progressive=True, exif=Image.Exif()),
    encoded(picture(), "TIFF", compression="tiff_lzw"),
    encoded(picture(), "TIFF", compression="jpeg"),
    encoded(picture().convert("CMYK"), "TIFF"),
    encoded(Image.fromarray(ramp("uint16")), "PNG"),
    encoded(half_clear("RGBA").resize((64, 64)), "HEIF", thumbnails=[32]),
    encoded(Image.fromarray(ramp("uint16")).resize((64, 64)), "HEIF"),
    encoded(picture(200, 100), "HEIF", tile_size=64),
]
MAGICS = [data[:12] for data in VALID] + [b""]


@given(st.sampled_from(MAGICS), st.binary(max_size=300))
@settings(deadline=None)
def test_random_bytes_load_or_are_refused(magic: bytes, data: bytes) -> None:
    loads_or_refuses(lambda: load_image(magic + data, max_pixels=1_000_000))


@given(st.sampled_from(VALID), st.data())
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_pictures_load_or_are_refused(valid: bytes, data: st.DataObject) -> None:
    damaged = bytearray(valid)
    for _ in range(data.draw(st.integers(1, 6))):
        # the beginning, where the header is, more often than the pixels
        at = data.draw(st.integers(0, min(120, len(valid) - 1)) | st.integers(0, len(valid) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.just(len(valid)) | st.integers(0, len(valid)))
    loads_or_refuses(lambda: load_image(bytes(damaged[:end]), max_pixels=1_000_000))
