"""`load_image`: random and damaged bytes load or are refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.images.pictures import FORMATS, encoded, half_clear, picture, ramp
from vqa.images import ImageError, load_image


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
