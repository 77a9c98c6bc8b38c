from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.chat.test_worker import Echo, wait
from vqa.answering import Settings
from vqa.chat import MAX_PICTURES, Worker
from vqa.chat.export import as_json, as_markdown
from vqa.chat.history import History
from vqa.chat.kept import Chats, Upload
from vqa.chat.turn import NotThere
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
def kept(tmp_path: Path, echo: Echo) -> Iterator[Chats]:
    history = History(tmp_path)
    with Worker(echo) as worker:
        yield Chats(history, lambda: worker)
    history.close()


def state(kept: Chats, key: str) -> list[tuple[str, str]]:
    return [(turn.text, turn.state) for turn in kept.history.branch(ANNA, key)]


def test_an_answer_is_kept_though_nobody_follows_it(kept: Chats) -> None:
    key = kept.history.start(ANNA, system="Be brief.")
    answer = kept.ask(ANNA, key, " What is it? ", [upload()])
    kept.wait(answer)
    assert state(kept, key) == [("What is it?", "done"), ("What is it?", "done")]
    said = kept.history.branch(ANNA, key)[-1]
    assert said.model == "echo"
    assert said.about["probability"] == 0.5
    assert said.about["new_tokens"] == 3
    assert kept.job(answer) is None


def test_what_the_model_is_asked(tmp_path: Path) -> None:
    echo = Echo()
    requests = []
    real = echo.stream
    echo.stream = lambda request, cancel=None: (  # type: ignore[method-assign]
        requests.append(request) or real(request, cancel)
    )
    with Worker(echo) as worker:
        kept = Chats(History(tmp_path), lambda: worker)
        key = kept.history.start(ANNA, system="Be brief.")
        kept.wait(kept.ask(ANNA, key, "One?", [upload()]))
        kept.wait(kept.ask(ANNA, key, "Two?", [upload("blue")], Settings(max_new_tokens=7)))
    first, second = requests
    assert [(one.role, one.text) for one in first.messages] == [
        ("system", "Be brief."), ("user", "One?"),
    ]  # fmt: skip
    assert [one.role for one in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[1].images[0].getpixel((0, 0)) == (255, 0, 0)
    assert second.messages[3].images[0].getpixel((0, 0)) == (0, 0, 255)
    assert second.settings == Settings(max_new_tokens=7)


def test_a_bad_question_leaves_nothing(kept: Chats) -> None:
    key = kept.history.start(ANNA)
    for question, pictures, why in (
        (" ", [upload()], "question is empty"),
        ("?", [Upload("notes.png", b"text")], "notes.png is text, not a picture"),
        ("?", [upload()] * (MAX_PICTURES + 1), "pictures in one message"),
    ):
        with pytest.raises(InputError, match=why):
            kept.ask(ANNA, key, question, pictures)
    assert kept.history.branch(ANNA, key) == []


def test_too_many_pictures_are_not_decoded(kept: Chats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Upload, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(InputError, match="pictures in one message"):
        kept.ask(ANNA, kept.history.start(ANNA), "?", [upload()] * (MAX_PICTURES + 1))


def test_only_so_many_questions_of_one_owner_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        kept = Chats(History(tmp_path), lambda: worker, max_waiting=2)
        key, bens = kept.history.start(ANNA), kept.history.start("ben")
        first = kept.ask(ANNA, key, "one")
        wait(lambda: echo.order == ["one"])  # it is being answered: it does not wait
        rest = [kept.ask(ANNA, key, word) for word in ("two", "three")]
        with monkeypatch.context() as patch:
            patch.setattr(Upload, "load", lambda _: pytest.fail("decoded"))
            with pytest.raises(InputError, match="2 of your questions wait"):
                kept.ask(ANNA, key, "four", [upload()])
        with pytest.raises(InputError, match="2 of your questions wait"):
            kept.answer_again(ANNA, first)
        assert "four" not in [text for text, _ in state(kept, key)]
        rest.append(kept.ask("ben", bens, "bens"))  # others may ask
        kept.stop(ANNA, rest[0])  # makes room
        rest.append(kept.ask(ANNA, key, "five"))
        for _ in range(4):
            echo.go.release()
        for answer in (first, *rest):
            kept.wait(answer)


def test_a_failed_answer_says_why_and_its_pictures_go_to_the_next(kept: Chats) -> None:
    key = kept.history.start(ANNA)
    kept.wait(kept.ask(ANNA, key, "some fail", [upload()]))
    failed = kept.history.branch(ANNA, key)[-1]
    assert (failed.text, failed.state) == ("some ", "failed")
    assert failed.notice == "echo failed to answer: out of memory"
    kept.wait(kept.ask(ANNA, key, "refuse"))
    assert kept.history.branch(ANNA, key)[-1].notice == "too long for this model"
    kept.wait(kept.ask(ANNA, key, "now"))
    assert state(kept, key)[-1] == ("now", "done")


def test_stopping_keeps_what_was_said(kept: Chats, echo: Echo) -> None:
    echo.free = False
    key = kept.history.start(ANNA)
    answer = kept.ask(ANNA, key, "one two three")
    echo.go.release()
    job = kept.job(answer)
    assert job is not None
    wait(lambda: job.text == "one ")
    with pytest.raises(NotThere):
        kept.stop("ben", answer)
    kept.stop(ANNA, answer)
    kept.wait(answer)
    assert state(kept, key)[-1] == ("one ", "stopped")
    echo.go.release()
    kept.stop(ANNA, answer)  # again does nothing


def test_a_long_answer_is_saved_while_it_is_written(
    kept: Chats, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.chat.kept._SAVE_EVERY", 0)
    echo.free = False
    key = kept.history.start(ANNA)
    answer = kept.ask(ANNA, key, "one two three")
    echo.go.release(2)
    wait(lambda: state(kept, key)[-1] == ("one two ", "running"))
    echo.go.release(2)
    kept.wait(answer)
    assert state(kept, key)[-1] == ("one two three", "done")


def test_another_answer_is_sampled_anew(kept: Chats, echo: Echo) -> None:
    key = kept.history.start(ANNA)
    first = kept.ask(ANNA, key, "What?", [upload()])
    kept.wait(first)
    seeds = []
    real = echo.stream

    def stream(request, cancel=None):  # type: ignore[no-untyped-def]
        seeds.append((request.settings.temperature > 0, request.settings.seed))
        assert [one.role for one in request.messages] == ["user"]
        return real(request, cancel)

    echo.stream = stream  # type: ignore[method-assign]
    second = kept.answer_again(ANNA, first)
    kept.wait(second)
    kept.wait(kept.answer_again(ANNA, second))
    assert seeds == [(True, 1), (True, 2)]
    assert len(kept.history.branch(ANNA, key)[-1].siblings) == 3


def test_asking_with_another_text(kept: Chats) -> None:
    key = kept.history.start(ANNA)
    kept.wait(kept.ask(ANNA, key, "What?", [upload()]))
    question = kept.history.branch(ANNA, key)[0].id
    with pytest.raises(InputError, match="question is empty"):
        kept.ask_again(ANNA, question, "  ")
    kept.wait(kept.ask_again(ANNA, question, "Which?"))
    assert state(kept, key) == [("Which?", "done"), ("Which?", "done")]
    assert len(kept.history.branch(ANNA, key)[0].pictures) == 1


def test_a_note_stands_in_place_of_an_answer(kept: Chats, echo: Echo) -> None:
    key = kept.history.start(ANNA)
    kept.note(ANNA, key, "这是什么?", "English only.", [upload()])
    noted = kept.history.branch(ANNA, key)[-1]
    assert (noted.state, noted.notice, noted.text) == ("note", "English only.", "")
    assert echo.order == []
    kept.wait(kept.ask(ANNA, key, "What is it?"))
    assert echo.order == ["What is it?"]


def test_a_conversation_is_deleted_while_it_is_answered(kept: Chats, echo: Echo) -> None:
    echo.free = False
    key = kept.history.start(ANNA)
    answer = kept.ask(ANNA, key, "one two")
    kept.delete(ANNA, key)
    kept.wait(answer)
    assert kept.history.conversations(ANNA) == []
    echo.go.release(9)


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_answered_on_a_hidden_branch_ends_with_it(
    kept: Chats, echo: Echo, whole: bool
) -> None:
    echo.free = False
    key = kept.history.start(ANNA)
    first = kept.ask(ANNA, key, "one two")
    question = kept.history.branch(ANNA, key)[0].id
    hidden = kept.ask_again(ANNA, question, "three four")
    shown = kept.answer_again(ANNA, first)
    kept.history.choose(ANNA, shown)
    jobs = [kept.job(answer) for answer in (first, hidden, shown)]
    if whole:
        kept.delete(ANNA, key)
    else:
        kept.delete_turn(ANNA, question)  # with both its answers, but not what stands beside it
    ended = [job is None or job.done for job in jobs]
    assert ended == [True, whole, True]
    if not whole:
        kept.delete(ANNA, key)
    echo.go.release(9)


def test_questions_that_are_still_being_made_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, tried = Upload.load, []

    def again(picture: Upload) -> Image.Image:  # another tab asks while this one's is decoded
        if not tried:
            tried.append(1)
            with pytest.raises(InputError, match="1 of your questions wait"):
                kept.ask(ANNA, key, "two", [upload()])
        return load(picture)

    monkeypatch.setattr(Upload, "load", again)
    with Worker(Echo()) as worker:
        kept = Chats(History(tmp_path), lambda: worker, max_waiting=1)
        key = kept.history.start(ANNA)
        kept.wait(kept.ask(ANNA, key, "one", [upload()]))
        kept.wait(kept.ask(ANNA, key, "three", [upload()]))
    assert tried and [text for text, _ in state(kept, key)][::2] == ["one", "three"]


def test_a_worker_that_has_ended(tmp_path: Path) -> None:
    worker = Worker(Echo())
    kept = Chats(History(tmp_path), lambda: worker)
    key = kept.history.start(ANNA)
    worker.close()
    with pytest.raises(VQAError, match="start it again"):
        kept.ask(ANNA, key, "?")
    assert kept.history.branch(ANNA, key)[-1].state == "failed"


def test_exports(kept: Chats) -> None:
    key = kept.history.start(ANNA)
    answer = kept.ask(ANNA, key, "What\nis it?", [upload(name="my photo.png")])
    kept.wait(answer)
    kept.history.correct(ANNA, answer, "A red one.")
    branch = kept.history.branch(ANNA, key)
    assert as_markdown(branch) == (
        "# What is it?\n\n[my photo.png]\n\n> What\n> is it?\n\nWhat is it?\n\n"
        "*Corrected:* A red one.\n"
    )
    question, said = json.loads(as_json(branch))["messages"]
    picture, text = question["content"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": "What\nis it?"}
    assert said == {"role": "assistant", "content": "A red one."}
