"""Videos: which frames are taken, and what is refused."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.limits import fuzz
from tests.inputs import clips
from vqa.errors import InputError
from vqa.inputs import video
from vqa.inputs.images import load_image


def _colours(frames: list[video.Frame]) -> list[tuple[int, ...]]:
    return [clips.colour(frame.picture) for frame in frames]


@pytest.mark.parametrize(
    ("codec", "container"),
    [("mpeg4", "mp4"), ("libx264", "mov"), ("libvpx", "webm"), ("mpeg4", "avi")],
)
def test_every_container_is_read_by_content(tmp_path: Path, codec: str, container: str) -> None:
    path = clips.write(
        tmp_path / "clip.jpg", clips.scenes("red", "blue"), codec=codec, container=container,
        every=10,
    )  # fmt: skip
    assert video.is_video(path)
    frames = video.frames(path, 4)
    assert _colours(frames) == [(8, 0, 0), (0, 0, 8)]
    assert 0 <= frames[0].time < 1 <= frames[1].time < 2
    assert video.frames(path.read_bytes(), 4) == frames


def test_pictures_are_no_videos(tmp_path: Path, examples: Path) -> None:
    path = tmp_path / "clip.mp4"
    first, *rest = clips.scenes("red", "blue")
    for kind in ("GIF", "WEBP"):
        first.save(path, kind, save_all=True, append_images=rest)
        assert not video.is_video(path)
        assert load_image(path).size == (64, 48)
    assert not video.is_video(examples / "cat.jpg")
    assert not video.is_video(tmp_path) and not video.is_video("no\0such")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert not video.is_video(tmp_path / "pipe.mp4")  # and does not wait for it
    for brand in (b"heic", b"heis", b"hevx", b"avif"):
        path.write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0" * 8)
        assert not video.is_video(path)


def test_every_scene_gives_a_frame_and_long_ones_more(tmp_path: Path) -> None:
    wide = [Image.linear_gradient("L").rotate(turn).convert("RGB") for turn in (0, 12, 24, 36)]
    shown = [*clips.scenes("red", size=(256, 256)), *wide, *clips.scenes("blue", size=(256, 256))]
    frames = video.frames(clips.write(tmp_path / "a.mp4", shown, every=5), 5)
    colours = _colours(frames)
    assert len(frames) == 5
    assert colours[0] == (8, 0, 0) and colours[-1] == (0, 0, 8)
    times = [frame.time for frame in frames]
    assert times == sorted(times) and 0 < times[1] - 0.5 < 0.5 and times[-1] >= 2.5


@pytest.mark.parametrize(
    ("aspect", "shown"),
    [(Fraction(64, 45), (91, 48)), (Fraction(1, 2), (64, 96)), (Fraction(20), (256, 48))],
)
def test_pixels_that_are_no_squares(
    tmp_path: Path, aspect: Fraction, shown: tuple[int, int]
) -> None:
    """DVD and DV have 720 x 576 pixels that are shown as 1024 x 576."""
    path = clips.write(tmp_path / "a.mp4", clips.scenes("red"), codec="libx264", aspect=aspect)
    assert video.frames(path, 1)[0].picture.size == shown


@pytest.mark.parametrize(("codec", "container"), [("libvpx", "webm"), ("libx264", "mp4")])
def test_some_damaged_bytes_cost_some_frames(tmp_path: Path, codec: str, container: str) -> None:
    noise = [Image.effect_noise((256, 192), 90).convert("RGB") for _ in range(8)]
    path = clips.write(
        tmp_path / f"a.{container}", noise, codec=codec, container=container, every=5
    )
    whole = video.frames(path, 8)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = b"\xff\x00\xa5" * 1000
    assert 4 <= len(video.frames(bytes(content), 8)) <= len(whole) == 8


def test_a_recording_that_was_cut_off(tmp_path: Path) -> None:
    """As programs that record a screen leave it when they are killed."""
    noise = [Image.effect_noise((256, 192), 90).convert("RGB") for _ in range(8)]
    path = clips.write(
        tmp_path / "a.mp4", noise, codec="libx264", every=5, key_frames=5,
        options={"movflags": "frag_keyframe+empty_moov"},
    )  # fmt: skip
    content = path.read_bytes()
    for share in (0.5, 0.7, 0.9, 0.98):
        times = [frame.time for frame in video.frames(content[: int(len(content) * share)], 8)]
        assert len(times) >= 3 and max(times) > 4 * share - 1.5


def test_frames_that_show_the_same_are_left_out(tmp_path: Path) -> None:
    still = clips.write(tmp_path / "a.mp4", clips.scenes("green"), every=20)
    assert len(video.frames(still, 8)) == 1
    one = clips.write(tmp_path / "b.mp4", clips.scenes("green"))  # a tenth of a second
    assert len(video.frames(one, 8)) == 1


def test_a_long_video_is_sought_and_not_decoded_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["red", "lime", "blue", "yellow", "white", "black"]
    path = clips.write(tmp_path / "a.mp4", clips.scenes(*names), every=100, key_frames=50)
    decoded = 0
    real = video._decoded

    def counted(*arguments: object) -> object:
        nonlocal decoded
        for frame in real(*arguments):
            decoded += 1
            yield frame

    monkeypatch.setattr(video, "_decoded", counted)
    monkeypatch.setattr(video, "_BUDGET", 64 * 48 * 24 * 8)  # eight frames a look
    frames = video.frames(path, 6)
    assert _colours(frames) == [
        (8, 0, 0), (0, 8, 0), (0, 0, 8), (8, 8, 0), (8, 8, 8), (0, 0, 0)
    ]  # fmt: skip
    assert [int(frame.time / 10) for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert decoded <= 24 * 8  # of 600


def test_a_recording_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    path = clips.write(
        tmp_path / "a.webm", clips.scenes("red", "blue"), codec="libvpx", container="webm", every=10
    )
    data = path.read_bytes()
    place = data.index(b"\x44\x89\x88")  # Duration, eight bytes: the whole element becomes Void
    data = data[:place] + b"\xec\x89" + b"\0" * 9 + data[place + 11 :]
    assert _colours(video.frames(data, 4)) == [(8, 0, 0), (0, 0, 8)]
    with pytest.raises(InputError, match=r"longer than 0\.0001 h"):
        video.frames(data, 4, max_hours=0.0001)


def test_a_phone_held_upright(tmp_path: Path) -> None:
    half = Image.new("RGB", (64, 48), "red")
    half.paste("blue", (32, 0, 64, 48))  # the right half
    data = clips.write(tmp_path / "a.mp4", [half], every=3).read_bytes()
    one = (1 << 16).to_bytes(4, "big")
    minus, none, unit = (-(1 << 16)).to_bytes(4, "big", signed=True), b"\0" * 4, b"\x40\0\0\0"
    straight = one + none * 3 + one + none * 3 + unit
    place = data.index(straight, data.index(b"tkhd"))
    turned = none + one + none + minus + none * 4 + unit  # a quarter clockwise
    data = data[:place] + turned + data[place + len(turned) :]
    (frame,) = video.frames(data)
    assert frame.picture.size == (48, 64)
    assert clips.colour(frame.picture.crop((0, 0, 48, 28))) == (8, 0, 0)
    assert clips.colour(frame.picture.crop((0, 36, 48, 64))) == (0, 0, 8)


def test_large_frames_are_made_smaller(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mp4", clips.scenes("red", size=(2048, 1024)))
    assert video.frames(path)[0].picture.size == (1024, 512)


def test_what_is_refused(tmp_path: Path, examples: Path) -> None:
    long = clips.packets(tmp_path / "long.mp4", [0, 3 * 3600])
    broken = clips.packets(tmp_path / "broken.mp4", [0, 1, 2])
    huge = tmp_path / "huge.mp4"
    data = bytearray(clips.packets(huge, [0, 1]).read_bytes())
    place = (
        data.index(b"avc1", data.index(b"stsd")) + 28
    )  # width and height in the sample's description
    data[place : place + 4] = (16000).to_bytes(2, "big") * 2
    huge.write_bytes(data)
    half = tmp_path / "half.mp4"
    half.write_bytes(clips.write(half, clips.scenes("red"), every=30).read_bytes()[:200])
    for path, message in (
        (long, "long.mp4 is longer than 1 h (3.0 h)"),  # and not that it cannot be decoded
        (broken, "broken.mp4 (is damaged|has no frame)"),
        (huge, "huge.mp4 has frames of too many or no pixels .at most 64,000,000"),
        (half, "half.mp4 is damaged, not complete"),
        (examples / "cat.jpg", "cat.jpg is not a video"),
        (tmp_path / "none.mp4", "none.mp4: no such file"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(InputError, match=message.replace("(3.0 h)", r"\(3.0 h\)")):
            video.frames(path)
    with pytest.raises(InputError, match="max_frames is 0"):
        video.frames(half, 0)


def test_what_grows_is_not_decoded_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clips.write(tmp_path / "a.mp4", clips.scenes("red", "blue", size=(640, 480)), every=8)
    assert len(video.frames(path)) == 2
    monkeypatch.setattr(video, "_BUDGET", 100_000)
    monkeypatch.setattr(video, "_LEAST", 0)
    with pytest.raises(InputError, match="takes too long to decode"):
        video.frames(path)


def test_sound_alone(tmp_path: Path) -> None:
    import av
    import numpy as np

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 44100
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with pytest.raises(InputError, match="no pictures that can be decoded"):
        video.frames(path)


def test_playlists_are_not_followed(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mp4", clips.scenes("red"))
    playlist = tmp_path / "b.mp4"
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{path}\n#EXT-X-ENDLIST\n")
    assert not video.is_video(playlist)
    with pytest.raises(InputError, match="not a video"):
        video.frames(playlist)


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clips.write(tmp_path / "a.mp4", clips.scenes("red"))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'vqa\[video\]'"):
        video.frames(path)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    return clips.write(path, clips.scenes("red", "blue"), every=4).read_bytes()


@fuzz
@given(data=st.data())
def test_damage_gives_frames_or_one_error(clip: bytes, data: st.DataObject) -> None:
    broken = bytearray(clip)
    for _ in range(data.draw(st.integers(1, 12))):
        broken[data.draw(st.integers(12, len(clip) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(12, len(clip)))
    try:
        frames = video.frames(bytes(broken[:cut]), 3)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert 1 <= len(frames) <= 3
        assert all(0 <= a.time < b.time for a, b in pairwise(frames))
