"""Rows about videos and sound are bad ones, with their reason, in every form they come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.data.written import FLAT, bad_of, lines, put
from tests.inputs.clips import scenes, write
from tests.inputs.pictures import encoded, picture
from vqa.data.convert import convert
from vqa.data.split import split
from vqa.errors import InputError
from vqa.evaluation.question_rows import read_questions

ASKED = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A cat."}]


def chat(*content: Any) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": content[0] if len(content) == 1 else list(content)},
        {"role": "assistant", "content": "A cat runs."},
    ]


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


ROWS: list[tuple[dict[str, Any], str]] = [
    # LLaVA-Video, LLaVA-OneVision
    ({"video": "a/clip.mp4", "conversations": [
        {"from": "human", "value": "<video>\nWhat?"}, ASKED[1]]}, "video (a/clip.mp4)"),
    ({"video": "clip.mp4", "conversations": ASKED}, "video (clip.mp4)"),
    # LLaMA-Factory
    ({"messages": chat("<video><audio>What?"), "videos": ["v.mp4"], "audios": ["a.wav"]}, "v.mp4"),
    ({"messages": chat("<audio>What is that?"), "audios": ["a.wav"]}, "audio (a.wav)"),
    ({"messages": chat("<video>What?")}, "video (<video>)"),
    ({"messages": chat("What is in <video>?"), "images": []}, "video (<video>)"),
    # TRL, Qwen, OpenAI, vLLM
    ({"messages": chat({"type": "video", "video": "v.mp4"}, text("What?"))}, "video (v.mp4)"),
    ({"messages": chat({"type": "video", "video": ["1.jpg", "2.jpg"]}, text("What?"))}, "1.jpg"),
    ({"messages": chat({"type": "video"}, text("What?")), "videos": ["v.mp4"]}, "video (v.mp4)"),
    ({"messages": chat({"type": "video_url", "video_url": {"url": "v.mp4"}}, text("?"))}, "v.mp4"),
    ({"messages": chat({"type": "audio_url", "audio_url": {"url": "https://a/b.wav"}}, text("?"))},
     "audio (https://a/b.wav)"),
    ({"messages": chat({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                       text("What?"))}, "audio is not read"),
    ({"messages": chat({"type": "image_url", "image_url": {"url": "v.mp4"}}, text("?"))},
     "video (v.mp4)"),
    ({"messages": chat({"type": "image_url", "image_url": {"url": "data:video/mp4;base64,AAAA"}},
                       text("?"))}, "video (a data: URL)"),
    ({"prompt": chat({"type": "video", "video": "v.mp4"}, text("What?"))[:1],
      "completion": chat("?")[1:]}, "video (v.mp4)"),
    ({"conversations": [[{"from": "human", "value": "<video>What?"}, ASKED[1]]]}, "<video>"),
    ({"messages": chat("<|vision_start|><|video_pad|><|vision_end|>What?")}, "<|video_pad|>"),
    # flat
    (FLAT | {"video": "clip.webm"}, "video (clip.webm)"),
    (FLAT | {"audio_path": "x.flac"}, "audio (x.flac)"),
    (FLAT | {"image": "clip.mp4"}, "video (clip.mp4)"),
    (FLAT | {"image": "CLIP.MOV"}, "video (CLIP.MOV)"),
    (FLAT | {"image": ["a.png", "talk.mp3"]}, "audio (talk.mp3)"),
    (FLAT | {"question": "<video>\nWhat?"}, "video (<video>)"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reason"), ROWS)
def test_a_row_about_a_video_or_a_sound_is_a_bad_one(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    data = put(tmp_path, lines(row))
    good, bad = bad_of(data)
    assert not good and reason in bad[0].reason and "is not read, only pictures" in bad[0].reason
    good, _ = bad_of(data, need_images=False, need_answers=False)
    assert not good


@pytest.mark.parametrize(
    "row",
    [
        FLAT | {"video": None, "audio": "", "videos": [], "audios": [None]},
        FLAT | {"video": {"bytes": None, "path": None}, "audio": float("nan")},
        FLAT | {"video_seconds": 3, "audio": False, "video_id": "x"},
        {"messages": chat("Is `<video src=x></video>` right, or <video></video>?")},
        {"messages": chat(text("What is <video> for?"), text("?"))},
        {"messages": chat(text("What?"), {"type": "text", "text": "?", "video": None})},
        {"messages": [*chat("What?")[:1], {"role": "assistant", "content": "Write <video> here."}]},
    ],
)
def test_what_only_looks_like_it_is_not(tmp_path: Path, row: dict[str, Any]) -> None:
    good, bad = bad_of(put(tmp_path, lines(row)))
    assert good and not bad


def test_a_name_counts_where_the_content_does_not_tell(tmp_path: Path) -> None:
    (tmp_path / "odd.mp4").write_bytes(encoded(picture(), "PNG"))
    good, bad = bad_of(put(tmp_path, lines(FLAT | {"image": "odd.mp4"})))
    assert good and not bad  # it is a picture


def test_every_command_that_reads_rows_says_it(tmp_path: Path) -> None:
    for number in range(3):
        picture(64 + number, 64).save(tmp_path / f"{number}.png")
    asked = [{"from": "human", "value": "<image>\nWhat?"}, ASKED[1]]
    rows = [{"id": n, "image": f"{n}.png", "conversations": asked} for n in range(3)]
    data = put(tmp_path, lines(*rows, {"id": 9, "video": "v.mp4", "conversations": ASKED}))
    done = split(data, tmp_path / "parts", 0.5)
    assert [row.line for row in done.bad] == [4] and not (tmp_path / "parts").exists()
    converted = convert(data, tmp_path / "out.jsonl", "jsonl")
    assert not converted.written and [row.id for row in converted.bad] == [9]
    predicted = read_questions(data)
    assert len(predicted.examples) == 3 and "video (v.mp4)" in predicted.failed[9]


def test_columns_of_parquet_with_their_content(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", scenes("red", "blue"))
    inside = {"bytes": clip.read_bytes(), "path": None}
    for column in ("image", "video"):
        rows = [{"question": "What?", "answer": "cat", "image": None} | {column: inside}]
        path = tmp_path / f"{column}.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        good, bad = bad_of(path)
        assert not good and "video" in bad[0].reason and "is not read" in bad[0].reason


def test_data_sets_of_the_hub_with_sound(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    (tmp_path / "a.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    rows = {"question": ["What?"], "answer": ["cat"], "audio": [str(tmp_path / "a.wav")]}
    data = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    data = data.cast_column("audio", datasets.Audio())
    data.save_to_disk(tmp_path / "saved")
    good, bad = bad_of(tmp_path / "saved")
    assert not good and "audio" in bad[0].reason
    with pytest.raises(InputError, match="is not read"):
        read_questions(tmp_path / "saved")
