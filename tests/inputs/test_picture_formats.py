"""`load_image`: what comes out of every format, mode and kind of source."""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.inputs.pictures import (
    CORNERS,
    FORMATS,
    RED,
    chunk,
    corner_colours,
    encoded,
    half_clear,
    near,
    picture,
    png,
    ramp,
)
from vqa.inputs.images import ImageError, load_image


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
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
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


@pytest.mark.parametrize(("white_is_zero", "expected"), [(False, (1, 1, 1)), (True, (254,) * 3)])
def test_a_tiff_of_16_bits_in_which_zero_is_white(
    white_is_zero: bool, expected: tuple[int, int, int]
) -> None:
    data = encoded(Image.fromarray(np.full((4, 4), 200, np.uint16)), "TIFF")
    tag = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert data.count(tag) == 1
    if white_is_zero:
        data = data.replace(tag, struct.pack("<HHIHH", 262, 3, 1, 0, 0))
    assert load_image(data).getpixel((0, 0)) == expected


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
@pytest.mark.parametrize("file_format", sorted({*FORMATS} - {"HEIF"}))  # x265 writes no such
def test_extreme_shapes(file_format: str, size: tuple[int, int]) -> None:
    assert load_image(encoded(Image.new("RGB", size, "red"), file_format)).size == size


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
