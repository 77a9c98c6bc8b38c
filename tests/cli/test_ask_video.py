"""`vqa ask clip.mp4 "..."`: frames become pictures, their times stand before the question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vqa.chat
from tests import tiny
from tests.cli.run import refused, vqa_here
from tests.inputs import clips

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_1_5(tmp_path_factory.mktemp("model") / "llava")


def test_a_video_is_asked_about(
    model: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["red", "lime", "blue", "white"]
    clip = clips.write(tmp_path / "photo.jpg", clips.scenes(*names), every=10)
    asked = []
    real = vqa.chat.Conversation.ask

    def ask(talk: Any, question: str, pictures: Any = ()) -> Any:
        asked.append((question, [clips.colour(picture) for picture in pictures]))
        return real(talk, question, pictures)

    monkeypatch.setattr(vqa.chat.Conversation, "ask", ask)
    command = ("ask", clip, "What happens?", "--model", model, "--max-new-tokens", "3", "--json")
    whole = json.loads(vqa_here(capfd, *command).stdout)
    ((question, colours),) = asked
    assert colours == [(8, 0, 0), (0, 8, 0), (0, 0, 8), (8, 8, 8)]
    times = ", ".join(f"{time:.1f} s" for time in whole["frames"])
    assert question.endswith("\nWhat happens?") and times in question
    assert [int(time) for time in whole["frames"]] == [0, 1, 2, 3]
    fewer = json.loads(vqa_here(capfd, *command, "--max-frames", "2").stdout)
    assert len(fewer["frames"]) == 2
    assert fewer["image_tokens"] == whole["image_tokens"] / 2


def test_what_is_wrong_with_a_video(tmp_path: Path, examples: Path, capfd: Capture) -> None:
    clip = clips.write(tmp_path / "a.mp4", clips.scenes("red"), every=3)
    long = clips.packets(tmp_path / "long.mp4", [0, 3 * 3600])
    for photos, message in (
        ([clip, clip], "a.mp4 is a video: it is asked about alone"),
        ([examples / "cat.jpg", clip], "a.mp4 is a video: it is asked about alone"),
        ([long], "longer than 1 h (3.0 h)"),
    ):
        assert message in refused(vqa_here(capfd, "ask", *photos, "What?"))
    for number in ("0", "9", "many"):
        assert "--max-frames" in refused(
            vqa_here(capfd, "ask", clip, "What?", "--max-frames", number)
        )
    assert "question is empty" in refused(vqa_here(capfd, "ask", clip, " "))
