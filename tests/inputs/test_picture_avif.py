"""`load_image`: AVIF, whose boxes and AV1 stream may each say something else."""

from __future__ import annotations

import io
import struct
from time import perf_counter

import av
import numpy as np
import pytest
from PIL import Image

from tests.inputs.pictures import CORNERS, RED, encoded, half_clear, near, picture, reason, resized
from vqa.inputs.images import load_image


def by_another_encoder(frames: list[Image.Image], pixels: str) -> bytes:
    """An AVIF as FFmpeg writes it: whole sequence headers, 10 bits where `pixels` says so."""
    av.logging.set_level(av.logging.PANIC)
    file = io.BytesIO()
    with av.open(file, "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", rate=5, options={"crf": "5"})
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = pixels
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_image(frame)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("count", [1, 3])
def test_files_of_another_encoder_in_8_and_10_bits(count: int, pixels: str) -> None:
    frames = [picture(128, 64), Image.new("RGB", (128, 64), "blue"), picture(128, 64)][:count]
    data = by_another_encoder(frames, pixels)
    assert near(load_image(data), CORNERS)
    assert "128 x 64; at most 8,191" in reason(data, max_pixels=8191)
    assert load_image(data, max_pixels=8192).size == (128, 64)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (64, 32), colour) for colour in ("red", "blue", "lime")]
    data = encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    assert data[8:12] == b"avis"
    assert near(load_image(data), [[RED, RED], [RED, RED]])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_clear_is_put_on_white(mode: str) -> None:
    data = encoded(half_clear(mode).resize((64, 32)), "AVIF", quality=100)
    colour = RED if mode == "RGBA" else (76, 76, 76)
    white = (255, 255, 255)
    assert near(load_image(data), [[colour, white], [colour, white]], tolerance=4)


def test_it_is_turned_by_its_own_rotation_and_not_by_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(), "AVIF", exif=exif.tobytes())
    assert b"irot" in data
    assert load_image(data).size == (32, 64)
    at = data.index(b"irot") + 4
    assert data[at] == 3  # quarters of a turn to the left
    assert load_image(data[:at] + b"\0" + data[at + 1 :]).size == (64, 32)


def test_the_stream_may_not_be_larger_than_the_boxes_say() -> None:
    data = resized(picture(640, 320), "AVIF", 64, 64)
    assert "640 x 320; at most 204,799" in reason(data, max_pixels=640 * 320 - 1)


def test_the_stream_of_alpha_may_not_be_larger_than_the_boxes_say() -> None:
    large = encoded(half_clear("RGBA").resize((640, 320)), "AVIF")
    for place in (large.index(b"ispe"), large.rindex(b"ispe")):
        large = large[: place + 8] + struct.pack(">II", 64, 32) + large[place + 16 :]
    assert "640 x 320" in reason(large, max_pixels=64 * 32)


@pytest.mark.parametrize("animated", [False, True])
def test_a_picture_of_very_many_frames_is_refused(animated: bool) -> None:
    """A decoder goes through all that one picture holds."""
    options = {"save_all": True, "append_images": [Image.new("RGB", (64, 32))]} if animated else {}
    data = encoded(picture(), "AVIF", **options)
    start = data.index(b"mdat") + 4
    if animated:  # the length of the first frame in the table of the track
        at = data.index(b"stsz") + 16
        length = int.from_bytes(data[at : at + 4], "big")
    else:  # the length of the only extent of the only picture
        at = data.index(struct.pack(">II", start, len(data) - start)) + 4
        length = len(data) - start
    frame = data[start : start + length]
    many = data[:at] + struct.pack(">I", length * 100) + data[at + 4 : start] + frame * 100
    assert "more than 8 frames: save it anew" in reason(many)


@pytest.mark.parametrize("rest", [b"\n", bytes(100), b"<!-- uploaded -->" * 9])
def test_what_stands_behind_a_whole_file_does_not_matter(rest: bytes) -> None:
    assert near(load_image(encoded(picture(), "AVIF") + rest), CORNERS)


def test_a_file_of_boxes_without_a_picture() -> None:
    head = b"\0\0\0\x18ftypavif\0\0\0\0avifmif1"
    assert "no picture in AV1" in reason(head + b"\0\0\0\x10free" + bytes(100))
    assert "a box in it has no length" in reason(head + b"\0\0\0\1meta" + bytes(100))
    deep = head + b"\0\0\0\x08free" * 20_000
    began = perf_counter()
    assert "too many boxes" in reason(deep)
    assert perf_counter() - began < 1


def test_a_large_picture_cut_off_anywhere_is_refused_at_once() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "AVIF", speed=10)
    began = perf_counter()
    for end in range(40, len(data) - 1, len(data) // 60):
        assert "ends too early" in reason(data[:end])
    assert perf_counter() - began < 2
