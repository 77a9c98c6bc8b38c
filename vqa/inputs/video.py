"""Frames of a video: a few pictures that stand for all of it, with their times.

Samples are decoded at equal distances. Where two neighbouring samples differ much, a new scene
begins; every scene gives a frame, long scenes more, and frames like the one before are left out.
Nothing else is decoded, so a long video costs hardly more than a short one.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from vqa.errors import InputError
from vqa.inputs.images import MAX_PIXELS, load_image

if TYPE_CHECKING:
    from PIL import Image

Source = str | os.PathLike[str] | bytes

MAX_FRAMES = 8  # by default
MAX_HOURS = 1.0

# By content, never by name. The reader is given the format: left to guess, FFmpeg would also take
# playlists, which make it open other files and addresses.
_FORMATS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"....ftyp(?!he[iv][cmsx]|m[is]f1|avi[fs])", re.DOTALL), "mov"),
    (re.compile(rb"....(moov|mdat|wide|free|skip)", re.DOTALL), "mov"),  # QuickTime of old
    (re.compile(rb"\x1a\x45\xdf\xa3"), "matroska"),  # WebM too
    (re.compile(rb"RIFF....AVI ", re.DOTALL), "avi"),
)
_SAMPLES = 4  # for each frame that is returned
_NEW_SCENE = 0.1  # least difference of two samples, of 1 between black and white
_SAME = 0.01  # frames that differ by no more show the same
_SIDE = 1024  # pixels; frames are made no larger, since encoders see less
_WIDEST = 4.0  # pixels of DVDs and DV are up to 1.5 times as wide as high
_LIMITS = {"max_pixels": str(MAX_PIXELS)}
_STREAMS = 64  # at most have the limits from the start
_BUDGET = 6_000_000_000  # pixels decoded at most: 3,000 frames of 1920 x 1080
_LEAST = 8  # frames decoded for one sample, however large they are
_MAX_PACKETS = 1_000_000  # read to find out how long a video is that does not say it


@dataclass(frozen=True)
class Frame:
    """One picture of a video."""

    time: float  # seconds from the start
    picture: Image.Image


def is_video(source: Source) -> bool:
    """Return whether a file, or the content of one, is a video: MP4, MOV, WebM, Matroska or AVI.

    Animated GIF and WebP are pictures. What cannot be read is no video: `load_image` says why.
    """
    if isinstance(source, bytes):
        return _format(source[:16]) is not None
    try:
        if not stat.S_ISREG(os.stat(source).st_mode):  # to read of a pipe would wait for it
            return False
        with open(source, "rb") as file:
            return _format(file.read(16)) is not None
    except (OSError, ValueError):
        return False


def frames(
    source: Source, max_frames: int = MAX_FRAMES, max_hours: float = MAX_HOURS
) -> list[Frame]:
    """Take at most `max_frames` pictures out of a video, a path or the content of a file.

    They lie in the middle of equal parts of each scene. The difference of two samples is the mean
    absolute difference of their colours at 32 x 32 pixels; a scene begins where it is at least a
    tenth of that between black and white. Where key frames lie far apart, a frame can come from
    some seconds before its place; its time is always its own.

    Raises InputError for what is no video, is damaged, longer than `max_hours` or too large, and
    where PyAV is not installed.
    """
    if max_frames < 1:
        raise InputError(f"max_frames is {max_frames}: at least 1 is needed.")
    name = "The video" if isinstance(source, bytes) else os.fsdecode(source)
    with _open_video(source, name) as container:
        stream = _stream(container, name)
        seconds = _seconds(container, stream, name, max_hours)
        count = _SAMPLES * max_frames
        times = [seconds * (number + 0.5) / count for number in range(count)]
        samples = list(_samples(container, stream, times, name))
    if not samples:
        raise InputError(f"{name} has no frame that can be decoded: convert it to MP4 (H.264).")
    return choose_frames(samples, max_frames)


def choose_frames(samples: Sequence[Frame], max_frames: int) -> list[Frame]:
    """Choose frames from samples at equal distances: every scene gives one, long scenes more."""
    small = [_small(sample.picture) for sample in samples]
    changes = [float(np.abs(a - b).mean()) for a, b in pairwise(small)]  # before sample i + 1
    largest = sorted(range(len(changes)), key=lambda i: -changes[i])[: max_frames - 1]
    cuts = sorted(i + 1 for i in largest if changes[i] >= _NEW_SCENE)
    scenes = [range(a, b) for a, b in pairwise([0, *cuts, len(samples)])]
    counts = [1] * len(scenes)
    while sum(counts) < min(max_frames, len(samples)):
        longest = max(range(len(scenes)), key=lambda i: len(scenes[i]) / counts[i])
        counts[longest] += 1
    chosen: list[int] = []
    for scene, count in zip(scenes, counts, strict=True):
        for part in range(count):
            number = scene[int((part + 0.5) * len(scene) / count)]
            if not chosen or np.abs(small[number] - small[chosen[-1]]).mean() > _SAME:
                chosen.append(number)
    return [samples[number] for number in chosen]


def with_times(question: str, frames: Sequence[Frame]) -> str:
    """Put a line before the question that says when the frames were taken."""
    times = ", ".join(f"{frame.time:.1f} s" for frame in frames)
    return f"Frames of a video at {times}.\n{question}"


def _format(head: bytes) -> str | None:
    return next((name for magic, name in _FORMATS if magic.match(head)), None)


def _small(picture: Image.Image) -> np.ndarray:
    """Shrink a picture to colours between 0 and 1 [32, 32, 3]."""
    return np.asarray(picture.resize((32, 32)).convert("RGB"), np.float32) / 255


@contextmanager
def _open_video(source: Source, name: str) -> Iterator[Any]:
    """Open a video; every error of FFmpeg within the block becomes one line."""
    try:
        import av
    except ImportError as error:
        raise InputError(
            f"{name} is a video, and PyAV, which reads videos, is not installed: "
            "pip install 'vqa[video]' (or: pip install av)"
        ) from error
    with _open_file(source, name) as file:
        kind = _format(file.read(16))
        if kind is None:
            raise InputError(f"{name} is not a video: MP4, MOV, WebM, Matroska and AVI are read.")
        file.seek(0)
        try:
            # A file object and no path: FFmpeg cannot take the name for an address. It decodes some
            # frames to know a stream, and those may be too large, too.
            limits = [_LIMITS] * _STREAMS
            with av.open(
                file, format=kind, stream_options=limits, metadata_errors="replace"
            ) as container:
                yield container
        except InputError:
            raise
        except Exception as error:  # PyAV raises many types on damaged files
            raise InputError(
                f"{name} is damaged, not complete, or no video that FFmpeg can decode: convert it "
                "to MP4 (H.264)."
            ) from error


def _open_file(source: Source, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        return open(source, "rb")
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; check the path.") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{name} cannot be read: {why}.") from error


def _stream(container: Any, name: str) -> Any:
    """Return the first video stream, whose size is allowed and which there is a decoder for."""
    streams = [stream for stream in container.streams.video if stream.codec_context is not None]
    if not streams:
        raise InputError(f"{name} holds no pictures that can be decoded (is it sound alone?).")
    stream = streams[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    _check_size(width, height, name)
    # a stream may grow later on: the decoder itself refuses what is larger
    stream.codec_context.options = _LIMITS
    return stream


def _check_size(width: int, height: int, name: str) -> None:
    if not 1 <= width * height <= MAX_PIXELS:  # FFmpeg says 0 for what is above the limit
        size = f"{width:,} x {height:,} pixels" if width * height else "too many or no pixels"
        raise InputError(
            f"{name} has frames of {size} (at most {MAX_PIXELS:,} in all are read): make it "
            "smaller."
        )


def _seconds(container: Any, stream: Any, name: str, max_hours: float) -> float:
    """Measure how long the video is. Recordings that were never finished do not say it."""
    limit = max_hours * 3600
    if stream.duration is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / 1_000_000
    else:
        seconds = 0.0
        for number, packet in enumerate(container.demux(stream)):  # nothing is decoded
            if packet.pts is not None:
                seconds = max(seconds, float(packet.pts * packet.time_base) - _start(stream))
            if seconds > limit or number > _MAX_PACKETS:
                break
        container.seek(stream.start_time or 0, stream=stream)
    if seconds > limit:
        raise InputError(
            f"{name} is longer than {max_hours:g} h ({seconds / 3600:.1f} h): cut out the part "
            "that is asked about."
        )
    return max(seconds, 0.0)


def _start(stream: Any) -> float:
    return float((stream.start_time or 0) * stream.time_base)


def _samples(container: Any, stream: Any, times: Sequence[float], name: str) -> Iterator[Frame]:
    """Decode one frame for each time, or the last before it that is within the budget."""
    size = stream.codec_context.width * stream.codec_context.height
    # a stream may begin tiny and grow: what is decoded is counted too
    budget = max(_BUDGET, _LEAST * size * len(times))
    per_sample = max(_LEAST, int(_BUDGET / size / len(times)))  # frames decoded for one sample
    rate = float(stream.average_rate or 30)
    start = _start(stream)
    decoded = _decoded(container, stream)
    position, last = 0.0, -1.0
    for time in times:
        if (time - position) * rate > per_sample:  # too far to decode all that lies between
            container.seek(int((time + start) / stream.time_base), stream=stream)
            decoded = _decoded(container, stream)
        chosen = None
        for number, frame in enumerate(decoded):
            budget -= frame.width * frame.height if frame is not None else 0
            if frame is not None and frame.pts is not None:
                chosen = frame
                position = float(frame.pts * stream.time_base) - start
            if budget < 0:
                raise InputError(f"{name} takes too long to decode: make its frames smaller.")
            if position + 0.5 / rate >= time or number + 1 >= per_sample:
                break
        if chosen is not None and position > last:
            last = position
            yield Frame(max(position, 0.0), _picture(chosen, stream, name))


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yield frames from here on; None for a packet without one, so that the caller can count."""
    from av.error import InvalidDataError

    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except InvalidDataError:  # some damaged bytes, as players step over them
            decoded = []
        yield from decoded or [None]


def _picture(frame: Any, stream: Any, name: str) -> Image.Image:
    """Make a frame a safe picture, upright, as wide as it is shown, not larger than needed."""
    _check_size(frame.width, frame.height, name)
    wider = min(max(float(stream.sample_aspect_ratio or 1), 1 / _WIDEST), _WIDEST)
    sides = frame.width * max(wider, 1.0), frame.height / min(wider, 1.0)
    shrink = max(1.0, max(sides) / _SIDE)
    width, height = (max(1, round(side / shrink)) for side in sides)
    picture = frame.to_image(width=width, height=height)
    if frame.rotation:  # counter-clockwise, as phones note how they were held
        picture = picture.rotate(frame.rotation, expand=True)
    return load_image(picture)
