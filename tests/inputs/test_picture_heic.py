"""`load_image`: HEIC, whose header, boxes and pixels may each say something else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.inputs.pictures import RED, encoded, near, picture, reason, resized
from vqa.inputs.images import load_image


def test_a_heic_may_not_be_larger_than_its_header_says() -> None:
    data = resized(picture(640, 320), "HEIF", 64, 64)
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
from vqa.inputs.images import load_image
load_image("a.png")
assert "pillow_heif" not in sys.modules
assert load_image("a.heic").size == (64, 32)
assert "pillow_heif" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
