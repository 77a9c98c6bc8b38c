"""Ratings and corrections of answers, as data."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.judging import ME, judge, png, several
from vqa.chat.feedback_export import as_zip, export
from vqa.chat.history import History
from vqa.data import read
from vqa.data.example import EarlierTurn, Example
from vqa.errors import InputError
from vqa.inputs.images import load_image


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    feedback = History(tmp_path / "chats")
    yield feedback
    feedback.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def all_rows(out: Path) -> list[Example]:
    return [row for name in ("train", "test") if (out / f"{name}.jsonl").exists()
            for row in read(out / f"{name}.jsonl")]  # fmt: skip


def test_corrected_and_confirmed_answers_become_rows(tmp_path: Path) -> None:
    history, out = several(tmp_path / "chats"), tmp_path / "fb"
    done = export(history, out)
    rows = {row.answers[0]: row for row in all_rows(out)}
    assert set(rows) == {"a cat", "a shoe", "a cup"}
    assert rows["a cat"].extra == {"feedback": "corrected", "model": "embedded", "said": "a dog"}
    assert rows["a cup"].extra["feedback"] == "confirmed"
    for answer, colour in (("a cat", "red"), ("a shoe", "green"), ("a cup", "blue")):
        (image,) = rows[answer].images
        assert load_image(image).getpixel((0, 0)) == Image.new("RGB", (1, 1), colour).getpixel(
            (0, 0)
        )
    assert (done.train[0] + done.test[0], done.test) == (3, (1, 1))
    assert (done.feedback.judged, done.feedback.refused) == (4, 1)
    named = {Path(image).name for row in all_rows(out) for image in row.images}
    assert {path.name for path in (out / "pictures").iterdir()} == named  # not the refused one's
    train, test = ({i for row in read(out / f"{n}.jsonl") for i in row.images} for n in
                   ("train", "test"))  # fmt: skip
    assert not train & test


def test_nothing_of_a_photo_but_its_pixels_is_written(history: History, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "SecretCamera"  # turned, and made by
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    photo = png("red", (40, 20), "JPEG", exif=exif)
    assert b"SecretCamera" in photo
    judge(history, "What?", "it", photo, rating=1)
    export(history, tmp_path / "fb")
    (picture,) = (tmp_path / "fb" / "pictures").iterdir()
    content = picture.read_bytes()
    assert b"SecretCamera" not in content and b"eXIf" not in content
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.format == "PNG" and picture.suffix == ".png"
        assert opened.size == (20, 40) and not opened.getexif()
        assert opened.tobytes() == load_image(photo).tobytes()


def test_what_was_said_before_is_context_and_is_not_learned(
    history: History, tmp_path: Path
) -> None:
    key, _ = judge(history, "What is it?", "a dog", png("red"), correction="a cat")
    judge(history, "Hello?", "", png("green"), conversation=key, state="failed")
    judge(history, "And now?", "a hat", conversation=key)
    judge(history, "Its colour?", "grey", png("blue"), conversation=key, rating=1)
    export(history, tmp_path / "fb", test_share=0)
    rows = {row.question: row for row in read(tmp_path / "fb" / "train.jsonl")}
    assert set(rows) == {"What is it?", "Its colour?"}
    last = rows["Its colour?"]
    assert last.earlier == (
        EarlierTurn("What is it?", "a cat", 1, in_loss=False),
        EarlierTurn("And now?", "a hat", 1, in_loss=False),  # the picture of the failed question
    )
    assert [load_image(image).getpixel((0, 0)) for image in last.images] == [
        (255, 0, 0), (0, 128, 0), (0, 0, 255),
    ]  # fmt: skip


def test_equal_questions_count_once_and_the_latest_judgement_wins(
    history: History, tmp_path: Path
) -> None:
    red = png("red")
    _, first = judge(history, "What is it?", "a dog", red, rating=1)
    judge(history, " what IS  it", "A dog.", png("red", kind="BMP"), rating=1)
    judge(history, "What is it?", "a cow", red, correction="a cat")
    judge(history, "What is it?", "a hat", png("green"), rating=1)
    done = export(history, tmp_path / "fb", test_share=0)
    feedback = done.feedback
    assert {row.answers[0] for row in all_rows(tmp_path / "fb")} == {"a cat", "a hat"}
    (conflict,) = feedback.conflicts
    assert conflict.answer == "a cat" and conflict.others == ("a dog", "A dog.")
    assert (feedback.duplicates, feedback.overruled) == (0, 2)
    history.correct(ME, first, "a fox")  # an old answer, judged last
    feedback = export(history, tmp_path / "fb", test_share=0).feedback
    assert {row.answers[0] for row in all_rows(tmp_path / "fb")} == {"a fox", "a hat"}
    history.correct(ME, first, "a cat")
    feedback = export(history, tmp_path / "fb", test_share=0).feedback
    assert (len(feedback.rows), feedback.duplicates, feedback.overruled) == (2, 1, 1)


def test_an_answer_that_is_refused_later_is_not_kept(history: History, tmp_path: Path) -> None:
    judge(history, "What is it?", "a dog", png("red"), rating=1)
    judge(history, "What is it?", "A dog.", png("red"), rating=-1)
    judge(history, "What is it?", "a hat", png("green"), rating=1)
    feedback = export(history, tmp_path / "fb").feedback
    assert [row.example.answers for row in feedback.rows] == [("a hat",)]
    assert feedback.conflicts[0].answer == "" and feedback.conflicts[0].others == ("a dog",)


def test_what_cannot_be_used_is_told(history: History, tmp_path: Path) -> None:
    judge(history, "Cut?", "it is a", png("red"), rating=1, finish="length")
    judge(history, "Stopped?", "it is", png("red"), rating=1, state="stopped")
    judge(history, "Cut, put right?", "it is", png("red"), correction="it is red", finish="length")
    key, _ = judge(history, "Gone?", "yes", png("green"), rating=1)
    history.branch(ME, key)[0].pictures[0].path.unlink()
    feedback = export(history, tmp_path / "fb").feedback
    assert [row.example.answers for row in feedback.rows] == [("it is red",)]
    reasons = {row.question: row.reason for row in feedback.unusable}
    assert "cut off" in reasons["Cut?"] and "cut off" in reasons["Stopped?"]
    assert "0.png cannot be read" in reasons["Gone?"]
    assert str(tmp_path) not in str(reasons)


def test_pictures_of_validation_data_are_left_out(history: History, tmp_path: Path) -> None:
    for colour in ("red", "green", "blue"):
        judge(history, "What colour?", colour, png(colour), rating=1)
    judge(history, "Both?", "yes", png("white"), png("red"), rating=1)
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "other.bmp").write_bytes(png("red", kind="BMP"))
    (tmp_path / "val" / "small.png").write_bytes(png("green", (39, 30)))
    (tmp_path / "val" / "broken.png").write_text("no picture")
    named = ("other.bmp", "small.png", "broken.png")
    rows = [{"image": name, "question": "?"} for name in named]
    against = tmp_path / "val" / "val.jsonl"
    against.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "{}\n")
    lines: list[str] = []
    feedback = export(history, tmp_path / "fb", against=[against], warn=lines.append).feedback
    assert {row.example.answers[0] for row in feedback.rows} == {"green", "blue"}
    assert {leak.question for leak in feedback.leaks} == {"What colour?", "Both?"}
    assert feedback.leaks[0].reason == f"its picture is in line 1 of {against}"
    assert lines == [f"{against}: not compared: 1 bad rows, 1 pictures that cannot be opened"]
    moved = tmp_path / "moved.jsonl"
    against.rename(moved)
    with pytest.raises(InputError, match="no picture of it can be opened"):
        export(history, tmp_path / "other", against=[moved])
    again = export(history, tmp_path / "other", against=[moved], images=tmp_path / "val").feedback
    assert {leak.question for leak in again.leaks} == {"What colour?", "Both?"}


def test_a_directory_is_brought_up_to_date_and_others_are_left_alone(tmp_path: Path) -> None:
    history, out = several(tmp_path / "chats"), tmp_path / "fb"
    export(history, out)
    (out / "compare").mkdir()
    (out / "compare" / "other.jsonl").write_text("{}\n")
    (out / ".new-killed").mkdir()
    for _, answer in history.judged_answers()[:1]:
        history.take_back(ME, answer.id)
    export(history, out)
    assert {row.answers[0] for row in all_rows(out)} == {"a shoe", "a cup"}
    assert len(list((out / "pictures").iterdir())) == 2
    assert sorted(path.name for path in out.iterdir()) == [
        "compare", "feedback.json", "pictures", "test.jsonl", "train.jsonl",
    ]  # fmt: skip
    assert (out / "compare" / "other.jsonl").exists()
    with (out / "train.jsonl").open("a") as file:
        file.write("\n")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"train\.jsonl was changed since"):
        export(history, out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "train.jsonl").write_text("mine")
    with pytest.raises(InputError, match="was not written by `vqa data export-feedback`"):
        export(history, other)
    assert [path.name for path in other.iterdir()] == ["train.jsonl"]
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_killed_while_it_exchanges_the_same_command_puts_it_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, out = several(tmp_path / "chats"), tmp_path / "fb"
    export(history, out)
    judge(history, "What is it?", "a bus", png("yellow"), rating=1)
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if self.name == "test.jsonl":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        export(history, out)
    assert not (out / "test.jsonl").exists()  # no old one beside the new train.jsonl
    export(history, out)
    assert len(all_rows(out)) == 4


def test_owners_and_a_zip(tmp_path: Path) -> None:
    history = several(tmp_path / "chats")
    judge(history, "Mine?", "yes", png("black"), rating=1, owner="another")
    with zipfile.ZipFile(io.BytesIO(as_zip(history, "another"))) as archive:
        archive.extractall(tmp_path)
    (row,) = read(tmp_path / "feedback" / "train.jsonl")
    assert row.question == "Mine?" and load_image(row.images[0]).getpixel((0, 0)) == (0, 0, 0)
    assert not (tmp_path / "feedback" / "test.jsonl").exists()  # of one picture
    assert export(history, tmp_path / "all").feedback.judged == 5


def test_nothing_to_export(history: History, tmp_path: Path) -> None:
    judge(history, "What?", "it", png("red"))
    with pytest.raises(InputError, match="no answer was judged yet"):
        export(history, tmp_path / "fb")
    judge(history, "What?", "it", png("red"), rating=-1)
    with pytest.raises(InputError, match="1 with a thumb down and no correction"):
        export(history, tmp_path / "fb")
    assert not (tmp_path / "fb").exists()
