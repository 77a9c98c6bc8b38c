"""A question about a part of a picture: stored with the picture, given to the model, exported."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.chat.test_history import ANNA, BEN, files
from tests.chat.test_worker import Echo
from vqa.answering import Answer, Request
from vqa.chat import Worker
from vqa.chat.export import as_json, as_markdown
from vqa.chat.feedback_export import export
from vqa.chat.feedback_rows import collect_feedback
from vqa.chat.history import History
from vqa.chat.service import ChatService, Upload
from vqa.chat.turn import Mark, NewPicture, NotFoundError
from vqa.data import read
from vqa.errors import InputError
from vqa.inputs.boxes import Box
from vqa.inputs.images import load_image

CORNER = Box(0.5, 0.5, 1.0, 1.0)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def photo() -> bytes:
    """A red picture whose lower right quarter is blue."""
    picture = Image.new("RGB", (80, 60), "red")
    picture.paste("blue", (40, 30, 80, 60))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def part(alone: bool = True) -> Upload:
    return Upload("cat.png", photo(), Mark(CORNER, alone))


class Listening(Echo):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    def stream(self, request: Request, *rest: Any) -> Iterator[str | Answer]:
        self.requests.append(request)
        return super().stream(request, *rest)

    @property
    def given(self) -> tuple[list[str], list[tuple[tuple[int, int], object]]]:
        """What it was given last: questions, and size and first pixel of each picture."""
        request = self.requests[-1]
        asked = [message.text for message in request.messages if message.role == "user"]
        return asked, [(image.size, image.getpixel((0, 0))) for image in request.images]


@pytest.fixture
def echo() -> Listening:
    return Listening()


@pytest.fixture
def service(tmp_path: Path, echo: Listening) -> Iterator[ChatService]:
    history = History(tmp_path / "chats")
    with Worker(echo) as worker:
        yield ChatService(history, lambda: worker)
    history.close()


def asked(service: ChatService, alone: bool) -> tuple[str, str]:
    """Ask about a picture and about a part of it; the conversation and the second answer."""
    key = service.history.start(ANNA, system="Be brief.")
    service.wait(service.ask(ANNA, key, "What is it?", [Upload("cat.png", photo())]))
    answer = service.ask(ANNA, key, "And this?", [part(alone)])
    service.wait(answer)
    return key, answer


WHOLE, CUT = ((80, 60), RED), ((40, 30), BLUE)


def test_a_part_is_stored_with_its_picture_whose_bytes_are_there_once(tmp_path: Path) -> None:
    first = History(tmp_path)
    key = first.start(ANNA)
    question = first.add_question(ANNA, key, None, "What is it?", [("cat.png", photo())])
    mark = Mark(CORNER, alone=False)
    marked = first.add_question(
        ANNA, key, question, "And this?", [NewPicture("cat.png", photo(), mark)]
    )
    first.edit_question(ANNA, marked, "And that?")
    assert len(files(first)) == 1
    first.close()
    again = History(tmp_path)
    before, edited = again.branch(ANNA, key)
    assert [one.mark for one in before.pictures] == [None]
    assert [one.mark for one in edited.pictures] == [mark] and edited.text == "And that?"
    assert [one.mark for one in again.turn(ANNA, marked).pictures] == [mark]
    with pytest.raises(NotFoundError):
        again.turn(BEN, marked)
    again.close()


def test_a_part_alone_is_all_that_the_model_is_given(service: ChatService, echo: Listening) -> None:
    key, answer = asked(service, alone=True)
    assert echo.given == (["And this?"], [CUT])
    assert [message.role for message in echo.requests[-1].messages] == ["system", "user"]
    service.wait(service.answer_again(ANNA, answer))
    assert echo.given == (["And this?"], [CUT])
    question = service.history.turn(ANNA, answer).parent
    assert question is not None
    service.wait(service.ask_again(ANNA, question, "And that?"))
    assert echo.given == (["And that?"], [CUT])
    service.wait(service.ask(ANNA, key, "Sure?"))
    assert echo.given == (["What is it?", "And that?", "Sure?"], [WHOLE, CUT])


def test_a_part_comes_behind_the_whole_picture(service: ChatService, echo: Listening) -> None:
    _, answer = asked(service, alone=False)
    expected = ["What is it?", "And this?"], [WHOLE, WHOLE, CUT]
    assert echo.given == expected
    service.wait(service.answer_again(ANNA, answer))
    assert echo.given == expected


def test_the_same_part_is_the_same_object(service: ChatService, echo: Listening) -> None:
    _, answer = asked(service, alone=True)
    service.wait(service.answer_again(ANNA, answer))
    one, other = (request.images[-1] for request in echo.requests[1:])
    assert one is other  # an engine has its features already


def test_too_small_a_part_is_not_asked_about(service: ChatService) -> None:
    key = service.history.start(ANNA)
    small = Upload("cat.png", photo(), Mark(Box(0.0, 0.0, 0.05, 1.0), True))
    with pytest.raises(InputError, match="4 x 60 pixels"):
        service.ask(ANNA, key, "What?", [small])
    assert service.history.branch(ANNA, key) == []


def test_exports_name_the_part_and_have_what_the_model_was_given(service: ChatService) -> None:
    key, _ = asked(service, alone=True)
    history = service.history
    branch = history.branch(ANNA, key)
    data = json.loads(as_json(branch, history.turns(ANNA, key), "Be brief."))
    plain, marked = (turn["pictures"][0] for turn in data["turns"] if turn["role"] == "user")
    assert marked == {**plain, "box": CORNER.values, "alone": True} and "box" not in plain
    (content,) = (
        message["content"] for message in data["messages"]
        if message["role"] == "user" and message["content"][-1]["text"] == "And this?"
    )  # fmt: skip
    assert [one["type"] for one in content] == ["image_url", "text"]
    cut = load_image(base64.b64decode(content[0]["image_url"]["url"].partition(",")[2]))
    assert cut.size == (40, 30) and cut.getpixel((20, 15))[2] > 200  # type: ignore[index]
    assert data["pictures"] == {}
    assert "cat.png: x 50-100 %, y 50-100 %" in as_markdown(branch).replace("\\", "")


def test_a_judged_answer_about_a_part_is_a_row_of_that_part(
    service: ChatService, tmp_path: Path
) -> None:
    for alone, colours in ((True, [BLUE]), (False, [RED, RED, BLUE])):
        _, answer = asked(service, alone)
        service.history.correct(ANNA, answer, f"blue, {alone}")
        folder = tmp_path / str(alone)
        folder.mkdir()
        row = collect_feedback(service.history, ANNA, folder).rows[-1].example
        pictures = [load_image(folder / str(name)).getpixel((0, 0)) for name in row.images]
        assert pictures == colours
        assert sum(turn.pictures for turn in row.earlier) == (0 if alone else 1)


def test_parts_of_a_picture_are_on_its_side_of_the_data_and_leak_as_it_does(
    service: ChatService, tmp_path: Path
) -> None:
    history = service.history
    for number in range(6):
        file = io.BytesIO()
        Image.new("RGB", (80, 60), (40 * number, 0, 0)).save(file, "PNG")
        for mark in (None, Mark(CORNER, True), Mark(Box(0, 0, 1, 0.5), True)):
            key = history.start(ANNA)
            answer = service.ask(ANNA, key, "What?", [Upload("x.png", file.getvalue(), mark)])
            service.wait(answer)
            history.correct(ANNA, answer, str(number))
    (tmp_path / "val.jsonl").write_text('{"image": "x.png", "question": "?", "answer": "0"}\n')
    (tmp_path / "x.png").write_bytes(file.getvalue())
    export(history, tmp_path / "all", test_share=0.5)
    sides = {
        name: {row.answers[0] for row in read(tmp_path / "all" / f"{name}.jsonl")}
        for name in ("train", "test")
    }
    assert not sides["train"] & sides["test"] and len(sides["train"] | sides["test"]) == 6
    done = export(history, tmp_path / "rest", against=[tmp_path / "val.jsonl"])
    assert len(done.feedback.leaks) == 3 and len(done.feedback.rows) == 15
    named = {Path(name).name for row in done.feedback.rows for name in row.example.images}
    assert {path.name for path in (tmp_path / "rest" / "pictures").iterdir()} == named


@pytest.mark.parametrize("value", ["[0, 0, 2, 1]", "[0, 0, NaN, 1]", '["a"]', "7", "{", '{"a": 1}'])
def test_a_damaged_part_is_one_line(tmp_path: Path, value: str) -> None:
    history = History(tmp_path)
    key = history.start(ANNA)
    history.add_question(ANNA, key, None, "?", [NewPicture("a.png", photo(), part().mark)])
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as database, database:
        database.execute("UPDATE pictures SET box = ?", (value,))
    with pytest.raises(InputError, match="damaged") as error:
        history.branch(ANNA, key)
    assert "\n" not in str(error.value)
    history.close()
