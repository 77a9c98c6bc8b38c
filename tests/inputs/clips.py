"""Short videos, made with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def write(
    path: Path,
    pictures: Sequence[Image.Image],
    *,
    rate: int = 10,
    codec: str = "mpeg4",
    container: str = "mp4",
    every: int = 1,
    key_frames: int = 12,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write `pictures`, each shown for `every` frames of 1/`rate` seconds.

    `aspect` is how many times wider than high each pixel is shown; `options` are the container's.
    """
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = key_frames
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        stream.codec_context.time_base = Fraction(1, rate)
        for number in range(len(pictures) * every):
            frame = av.VideoFrame.from_image(pictures[number // every])
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def scenes(*colours: str, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """One plain picture for each colour."""
    return [Image.new("RGB", size, colour) for colour in colours]


def packets(path: Path, seconds: Sequence[float], size: tuple[int, int] = (64, 48)) -> Path:
    """Write a video whose packets, at the given times, hold nothing that could be decoded."""
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, 1000)
        for second in seconds:
            packet = av.Packet(b"\0" * 64)
            packet.stream = stream
            packet.time_base = Fraction(1, 1000)
            packet.pts = packet.dts = int(1000 * second)
            packet.is_keyframe = True
            output.mux(packet)
    return path


def colour(picture: Image.Image) -> tuple[int, ...]:
    """The mean colour, in steps of 32: encoders change the last bits."""
    return tuple(int(v) for v in np.rint(np.asarray(picture).mean((0, 1)) / 32))
