from __future__ import annotations

from pathlib import Path

import pytest

from app.composer import expand_video
from tests.inputs.clips import scenes, write
from vqa.chat.service import Upload
from vqa.errors import InputError


def test_a_video_becomes_its_frames(tmp_path: Path) -> None:
    content = write(tmp_path / "a.mp4", scenes("red", "blue"), every=10).read_bytes()
    question, frames = expand_video("What happens?", [Upload("a.mp4", content)])
    assert question.startswith("Frames of a video at ")
    assert question.endswith("\nWhat happens?")
    assert 1 <= len(frames) <= 8
    assert all(frame.name.startswith("a.mp4, ") for frame in frames)
    with pytest.raises(InputError, match="alone"):
        expand_video("?", [Upload("a.mp4", content), Upload("b.png", b"")])


def test_pictures_stay_as_they_are() -> None:
    pictures = [Upload("a.png", b"\x89PNG"), Upload("b.gif", b"GIF89a")]
    assert expand_video("?", pictures) == ("?", pictures)
