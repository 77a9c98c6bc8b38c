"""`load_image`: random and damaged bytes load or are refused."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.limits import fuzz, held
from tests.fuzz.mutation import changed_bytes
from tests.inputs.pictures import FORMATS, encoded, half_clear, picture, ramp
from vqa.errors import InputError
from vqa.inputs.images import ImageError, load_image

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
    encoded(half_clear("RGBA").resize((64, 64)), "AVIF"),
    encoded(picture(), "AVIF", save_all=True, append_images=[picture()]),
]
MAGICS = [data[:12] for data in VALID] + [b""]


def load(source: bytes | Path) -> None:
    """Load a picture, which ends with an RGB picture or an ImageError."""
    with held():
        try:
            image = load_image(source, max_pixels=1_000_000)
        except InputError as error:
            assert isinstance(error, ImageError)
            raise
        assert image.mode == "RGB"
        assert image.tobytes()


@fuzz
@given(st.sampled_from(MAGICS), st.binary(max_size=300))
def test_random_bytes_load_or_are_refused(magic: bytes, data: bytes) -> None:
    load(magic + data)


@fuzz
@given(st.sampled_from(VALID).flatmap(changed_bytes))
def test_damaged_pictures_load_or_are_refused(damaged: bytes) -> None:
    load(damaged)


@fuzz
@given(st.sampled_from(VALID).flatmap(changed_bytes))
def test_damaged_files_of_pictures_load_or_are_refused(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "a.png"  # with another name than most of them have
    path.write_bytes(damaged)
    load(path)
