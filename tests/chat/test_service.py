from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.chat.test_worker import Echo, wait
from vqa.answering import SamplingParams
from vqa.chat import MAX_PICTURES, Worker
from vqa.chat.export import as_json, as_markdown
from vqa.chat.history import History
from vqa.chat.picture_store import DecodedPictures
from vqa.chat.service import ChatService, Upload
from vqa.chat.turn import NotFoundError
from vqa.errors import InputError, VQAError

ANNA = "anna"


def upload(colour: str = "red", name: str = "photo.png") -> Upload:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(file, "PNG")
    return Upload(name, file.getvalue())


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def service(tmp_path: Path, echo: Echo) -> Iterator[ChatService]:
    history = History(tmp_path)
    with Worker(echo) as worker:
        yield ChatService(history, lambda: worker)
    history.close()


def state(service: ChatService, key: str) -> list[tuple[str, str]]:
    return [(turn.text, turn.state) for turn in service.history.branch(ANNA, key)]


def test_an_answer_is_kept_though_nobody_follows_it(service: ChatService) -> None:
    key = service.history.start(ANNA, system="Be brief.")
    answer = service.ask(ANNA, key, " What is it? ", [upload()])
    service.wait(answer)
    assert state(service, key) == [("What is it?", "done"), ("What is it?", "done")]
    turn = service.history.branch(ANNA, key)[-1]
    assert turn.model == "echo"
    assert turn.about["probability"] == 0.5
    assert turn.about["new_tokens"] == 3
    assert service.job(answer) is None


def test_what_the_model_is_asked(tmp_path: Path) -> None:
    echo = Echo()
    requests = []
    real = echo.stream
    echo.stream = lambda request, cancel=None: (  # type: ignore[method-assign]
        requests.append(request) or real(request, cancel)
    )
    with Worker(echo) as worker:
        service = ChatService(History(tmp_path), lambda: worker)
        key = service.history.start(ANNA, system="Be brief.")
        service.wait(service.ask(ANNA, key, "One?", [upload()]))
        service.wait(
            service.ask(ANNA, key, "Two?", [upload("blue")], SamplingParams(max_new_tokens=7))
        )
    first, second = requests
    assert [(one.role, one.text) for one in first.messages] == [
        ("system", "Be brief."), ("user", "One?"),
    ]  # fmt: skip
    assert [one.role for one in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[1].images[0].getpixel((0, 0)) == (255, 0, 0)
    assert second.messages[3].images[0].getpixel((0, 0)) == (0, 0, 255)
    assert second.settings == SamplingParams(max_new_tokens=7)


def test_a_bad_question_leaves_nothing(service: ChatService) -> None:
    key = service.history.start(ANNA)
    for question, pictures, why in (
        (" ", [upload()], "question is empty"),
        ("?", [Upload("notes.png", b"text")], "notes.png is text, not a picture"),
        ("?", [upload()] * (MAX_PICTURES + 1), "pictures in one message"),
    ):
        with pytest.raises(InputError, match=why):
            service.ask(ANNA, key, question, pictures)
    assert service.history.branch(ANNA, key) == []


def test_too_many_pictures_are_not_decoded(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DecodedPictures, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match="pictures in one message"):
        service.ask(ANNA, service.history.start(ANNA), "?", [upload()] * (MAX_PICTURES + 1))


def test_only_so_many_questions_of_one_owner_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        service = ChatService(History(tmp_path), lambda: worker, max_waiting=2)
        key, bens = service.history.start(ANNA), service.history.start("ben")
        first = service.ask(ANNA, key, "one")
        wait(lambda: echo.order == ["one"])  # it is being answered: it does not wait
        rest = [service.ask(ANNA, key, word) for word in ("two", "three")]
        with monkeypatch.context() as patch:
            patch.setattr(DecodedPictures, "load", lambda *_: pytest.fail("decoded"))
            with pytest.raises(InputError, match="2 of your questions wait"):
                service.ask(ANNA, key, "four", [upload()])
        with pytest.raises(InputError, match="2 of your questions wait"):
            service.answer_again(ANNA, first)
        assert "four" not in [text for text, _ in state(service, key)]
        rest.append(service.ask("ben", bens, "bens"))  # others may ask
        service.stop(ANNA, rest[0])  # makes room
        rest.append(service.ask(ANNA, key, "five"))
        for _ in range(4):
            echo.go.release()
        for answer in (first, *rest):
            service.wait(answer)


def test_a_failed_answer_says_why_and_its_pictures_go_to_the_next(service: ChatService) -> None:
    key = service.history.start(ANNA)
    service.wait(service.ask(ANNA, key, "some fail", [upload()]))
    failed = service.history.branch(ANNA, key)[-1]
    assert (failed.text, failed.state) == ("some ", "failed")
    assert failed.notice == "echo failed to answer: out of memory"
    service.wait(service.ask(ANNA, key, "refuse"))
    assert service.history.branch(ANNA, key)[-1].notice == "too long for this model"
    service.wait(service.ask(ANNA, key, "now"))
    assert state(service, key)[-1] == ("now", "done")


def test_stopping_keeps_what_was_said(service: ChatService, echo: Echo) -> None:
    echo.free = False
    key = service.history.start(ANNA)
    answer = service.ask(ANNA, key, "one two three")
    echo.go.release()
    job = service.job(answer)
    assert job is not None
    wait(lambda: job.text == "one ")
    with pytest.raises(NotFoundError):
        service.stop("ben", answer)
    service.stop(ANNA, answer)
    service.wait(answer)
    assert state(service, key)[-1] == ("one ", "stopped")
    echo.go.release()
    service.stop(ANNA, answer)  # again does nothing


def test_a_long_answer_is_saved_while_it_is_written(
    service: ChatService, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.chat.service._SAVE_EVERY", 0)
    echo.free = False
    key = service.history.start(ANNA)
    answer = service.ask(ANNA, key, "one two three")
    echo.go.release(2)
    wait(lambda: state(service, key)[-1] == ("one two ", "running"))
    echo.go.release(2)
    service.wait(answer)
    assert state(service, key)[-1] == ("one two three", "done")


def test_another_answer_is_sampled_anew(service: ChatService, echo: Echo) -> None:
    key = service.history.start(ANNA)
    first = service.ask(ANNA, key, "What?", [upload()])
    service.wait(first)
    seeds = []
    real = echo.stream

    def stream(request, cancel=None):  # type: ignore[no-untyped-def]
        assert request.settings.temperature > 0
        seeds.append(request.settings.seed)
        assert [one.role for one in request.messages] == ["user"]
        return real(request, cancel)

    echo.stream = stream  # type: ignore[method-assign]
    second = service.answer_again(ANNA, first)
    service.wait(second)
    service.wait(service.answer_again(ANNA, second))
    service.history.delete_turn(ANNA, second)
    service.wait(service.answer_again(ANNA, first))
    assert len(set(seeds)) == 3
    assert len(service.history.branch(ANNA, key)[-1].siblings) == 3


def test_asking_with_another_text(service: ChatService) -> None:
    key = service.history.start(ANNA)
    service.wait(service.ask(ANNA, key, "What?", [upload()]))
    question = service.history.branch(ANNA, key)[0].id
    with pytest.raises(InputError, match="question is empty"):
        service.ask_again(ANNA, question, "  ")
    service.wait(service.ask_again(ANNA, question, "Which?"))
    assert state(service, key) == [("Which?", "done"), ("Which?", "done")]
    assert len(service.history.branch(ANNA, key)[0].pictures) == 1


def test_a_note_stands_in_place_of_an_answer(service: ChatService, echo: Echo) -> None:
    key = service.history.start(ANNA)
    service.note(ANNA, key, "这是什么?", "English only.", [upload()])
    noted = service.history.branch(ANNA, key)[-1]
    assert (noted.state, noted.notice, noted.text) == ("note", "English only.", "")
    assert echo.order == []
    service.wait(service.ask(ANNA, key, "What is it?"))
    assert echo.order == ["What is it?"]


def test_a_conversation_is_deleted_while_it_is_answered(service: ChatService, echo: Echo) -> None:
    echo.free = False
    key = service.history.start(ANNA)
    answer = service.ask(ANNA, key, "one two")
    service.delete(ANNA, key)
    service.wait(answer)
    assert service.history.conversations(ANNA) == []
    echo.go.release(9)


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_answered_on_a_hidden_branch_ends_with_it(
    service: ChatService, echo: Echo, whole: bool
) -> None:
    echo.free = False
    key = service.history.start(ANNA)
    first = service.ask(ANNA, key, "one two")
    question = service.history.branch(ANNA, key)[0].id
    hidden = service.ask_again(ANNA, question, "three four")
    shown = service.answer_again(ANNA, first)
    service.history.choose(ANNA, shown)
    jobs = [service.job(answer) for answer in (first, hidden, shown)]
    if whole:
        service.delete(ANNA, key)
    else:
        service.delete_turn(ANNA, question)  # with both its answers, but not what stands beside it
    ended = [job is None or job.done for job in jobs]
    assert ended == [True, whole, True]
    if not whole:
        service.delete(ANNA, key)
    echo.go.release(9)


def test_questions_that_are_still_being_made_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, tried = DecodedPictures.load, []

    def again(
        pictures: DecodedPictures, content: bytes, name: str, box: None
    ) -> Image.Image:  # another tab asks while this one's is decoded
        if not tried:
            tried.append(1)
            with pytest.raises(InputError, match="1 of your questions wait"):
                service.ask(ANNA, key, "two", [upload()])
        return load(pictures, content, name)

    monkeypatch.setattr(DecodedPictures, "load", again)
    with Worker(Echo()) as worker:
        service = ChatService(History(tmp_path), lambda: worker, max_waiting=1)
        key = service.history.start(ANNA)
        service.wait(service.ask(ANNA, key, "one", [upload()]))
        service.wait(service.ask(ANNA, key, "three", [upload()]))
    assert tried and [text for text, _ in state(service, key)][::2] == ["one", "three"]


def test_a_worker_that_has_ended(tmp_path: Path) -> None:
    worker = Worker(Echo())
    service = ChatService(History(tmp_path), lambda: worker)
    key = service.history.start(ANNA)
    worker.close()
    with pytest.raises(VQAError, match="start it again"):
        service.ask(ANNA, key, "?")
    assert service.history.branch(ANNA, key)[-1].state == "failed"


def test_exports(service: ChatService) -> None:
    key = service.history.start(ANNA)
    answer = service.ask(ANNA, key, "What\nis it?", [upload(name="my photo.png")])
    service.wait(answer)
    service.history.correct(ANNA, answer, "A red one.")
    branch = service.history.branch(ANNA, key)
    assert as_markdown(branch) == (
        "# What is it?\n\n[my photo.png]\n\n> What\n> is it?\n\nWhat is it?\n\n"
        "*Corrected:* A red one.\n"
    )
    question, reply = json.loads(as_json(branch))["messages"]
    picture, text = question["content"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": "What\nis it?"}
    assert reply == {"role": "assistant", "content": "What is it?"}
