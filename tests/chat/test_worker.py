from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from vqa.answering import Answer, Request, SamplingParams
from vqa.chat import MAX_PICTURES, MAX_QUESTION, Conversation, Job, Worker
from vqa.errors import InputError, VQAError
from vqa.inputs.images import ImageError
from vqa.inputs.prompts import Message

RED = Image.new("RGB", (2, 2), "red")


class Echo:
    """Answers with the words of the question, each only when the test lets it go on."""

    name = "echo"

    def __init__(self, free: bool = True) -> None:
        self.free = free
        self.go = threading.Semaphore(0)
        self.order: list[str] = []
        self.closed = Event()

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        raise AssertionError("the worker streams")

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        question = request.messages[-1].text
        self.order.append(question)
        words: list[str] = []
        try:
            for word in question.split():
                if not self.free:
                    assert self.go.acquire(timeout=10)
                if cancel and cancel.is_set():
                    yield Answer("".join(words), "cancelled")
                    return
                if word == "fail":
                    raise RuntimeError("out of\nmemory")
                if word == "refuse":
                    raise InputError("too long for this model")
                if word == "vanish":
                    return
                words.append(word + " ")
                yield words[-1]
            yield Answer("".join(words).strip(), "stop", probability=0.5, new_tokens=len(words))
        finally:
            self.closed.set()


def ask(question: str) -> Request:
    return Conversation().ask(question).request()


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def following(job: Job) -> tuple[threading.Thread, list[str | Answer]]:
    got: list[str | Answer] = []

    def run() -> None:
        got.extend(job.follow())

    thread = threading.Thread(target=run)
    thread.start()
    return thread, got


def test_a_conversation_of_two_turns() -> None:
    empty = Conversation()
    first = empty.ask(" What is it? ", [RED])
    assert first.messages[0].text == "What is it?"
    assert first.messages[0].images[0].tobytes() == RED.tobytes()
    second = first.answered("Red.").ask("And now?")
    assert [message.role for message in second.messages] == ["user", "assistant", "user"]
    settings = SamplingParams(max_new_tokens=5)
    assert second.request(settings) == Request(second.messages, settings)
    assert second.request().settings == SamplingParams()
    assert empty.messages == ()
    assert len(first.messages) == 1


def test_pictures_stand_at_the_places_of_a_question() -> None:
    blue = Image.new("RGB", (3, 3), "blue")
    asked = Conversation().ask(" \nIs <image> like <image>? ", [RED, blue], [5, 18])
    (message,) = asked.messages
    assert (message.text, message.places) == ("Is <image> like <image>?", (3, 16))
    # what was not answered leaves its pictures, before the text
    (message,) = asked.ask("And <image>?", [RED], [4]).messages
    assert [image.size for image in message.images] == [(2, 2), (3, 3), (2, 2)]
    assert message.places == (4,)
    assert Conversation().ask("Is <image> text?", [RED]).messages[0].places == ()
    for question, pictures, places, says in (
        ("Is <image> red?", [RED], [2], "no <image> begins at character 2"),
        ("Is <image> red?", [], [3], "1 places in the question for 0 pictures"),
        (" <image>\n", [RED], [1], "the question is empty"),
    ):
        with pytest.raises(InputError, match=says):
            Conversation().ask(question, pictures, places)


def test_an_unanswered_question_gives_way_but_its_pictures_stay() -> None:
    stopped = Conversation().ask("What?", [RED]).answered("  ")
    again = stopped.ask("Which colour?", [Image.new("RGB", (3, 3))])
    assert [message.text for message in again.messages] == ["Which colour?"]
    assert [image.size for image in again.messages[0].images] == [(2, 2), (3, 3)]
    assert again.answered("Red.").ask("Sure?").messages[-1].images == ()


def test_wrong_questions(tmp_path: Path) -> None:
    conversation = Conversation()
    for empty in ("", " \n\t"):
        with pytest.raises(InputError, match="the question is empty"):
            conversation.ask(empty, [RED])
    assert conversation.ask("x" * MAX_QUESTION)
    with pytest.raises(InputError, match=f"{MAX_QUESTION + 1:,} characters"):
        conversation.ask("x" * (MAX_QUESTION + 1))
    full = conversation.ask("?", [RED] * MAX_PICTURES)
    for before, count in ((conversation, MAX_PICTURES + 1), (full, 1)):
        with pytest.raises(InputError, match=f"{MAX_PICTURES + 1} pictures in one message"):
            before.ask("?", [RED] * count)
    with pytest.raises(ImageError, match="no such file"):
        conversation.ask("?", [tmp_path / "none.jpg"])


def test_answers_and_requests_need_a_question() -> None:
    for conversation in (Conversation(), Conversation((Message("assistant", "Hello."),))):
        with pytest.raises(ValueError, match="no question"):
            conversation.answered("Yes.")
        with pytest.raises(ValueError, match="no question"):
            conversation.request()


def test_pieces_come_as_they_are_made_and_last_the_answer() -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        job = worker.submit(ask("one two"))
        stream = job.follow()
        echo.go.release()
        assert next(stream) == "one "
        assert job.text == "one "
        assert not job.done
        echo.go.release()
        assert next(stream) == "two "
        answer = next(stream)
        assert answer == Answer("one two", "stop", probability=0.5, new_tokens=2)
        assert list(stream) == []
        assert job.result() is answer
        assert job.done
        assert job.text == "one two"


def test_a_follower_may_leave_and_come_back_and_many_may_follow() -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        job = worker.submit(ask("one two three"))
        others = [following(job) for _ in range(3)]
        echo.go.release()
        first = job.follow()
        assert next(first) == "one "
        first.close()  # type: ignore[attr-defined]
        echo.go.release()
        wait(lambda: job.text == "one two ")
        back = job.follow()
        assert next(back) == "one two "
        echo.go.release()
        assert next(back) == "three "
        assert isinstance(next(back), Answer)
        for thread, got in others:
            thread.join(10)
            assert "".join(piece for piece in got if isinstance(piece, str)) == "one two three "
            assert got[-1] is job.result()
        late = list(job.follow())
        assert late == ["one two three ", job.result()]


def test_the_heartbeat_lets_a_follower_look_around() -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        job = worker.submit(ask("word"))
        stream = job.follow(heartbeat=0.01)
        assert [next(stream), next(stream)] == ["", ""]
        echo.go.release()
        assert [piece for piece in stream if piece] == ["word ", job.result()]


def test_first_come_first_served_one_at_a_time() -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        jobs = [worker.submit(ask(f"question{number}")) for number in range(4)]
        wait(lambda: echo.order == ["question0"])
        assert [job.ahead for job in jobs] == [0, 1, 2, 3]
        for number, job in enumerate(jobs):
            assert not job.done
            echo.go.release()
            assert job.result().text == f"question{number}"
    assert echo.order == [f"question{number}" for number in range(4)]


def test_many_threads_submit_and_nothing_is_lost_or_mixed() -> None:
    with Worker(Echo()) as worker:
        got: dict[str, str] = {}

        def client(name: str) -> None:
            for turn in range(20):
                question = f"{name} says {turn}"
                pieces = list(worker.submit(ask(question)).follow())
                assert isinstance(pieces[-1], Answer)
                got[question] = "".join(piece for piece in pieces if isinstance(piece, str))

        threads = [threading.Thread(target=client, args=(f"c{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(got) == 160
    assert all(answer.strip() == question for question, answer in got.items())


def test_cancel_ends_a_running_answer_at_once_even_in_a_busy_model() -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        job, after = worker.submit(ask("one two three")), worker.submit(ask("next"))
        thread, got = following(job)
        echo.go.release()
        wait(lambda: job.text == "one ")
        job.cancel()  # the model hangs and cannot notice
        thread.join(10)
        assert got[-1] == Answer("one ", "cancelled")
        assert job.result() == Answer("one ", "cancelled")
        assert not echo.closed.is_set()
        echo.go.release()  # the model goes on, notices, and its late answer changes nothing
        wait(echo.closed.is_set)
        echo.go.release()
        assert after.result().text == "next"
        assert job.result() == Answer("one ", "cancelled")
        assert job.text == "one "


def test_a_model_that_does_not_look_at_cancel_is_ended_too() -> None:
    class Stubborn(Echo):
        def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
            return super().stream(request, None)

    echo = Stubborn(free=False)
    with Worker(echo) as worker:
        job = worker.submit(ask("one two three"))
        wait(lambda: bool(echo.order))
        job.cancel()
        echo.go.release()
        wait(echo.closed.is_set)  # at its first word; the others were never asked for
        assert job.text == ""


def test_cancel_takes_a_waiting_question_out_of_the_queue() -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        first, second, third = [worker.submit(ask(word)) for word in ("one", "two", "three")]
        wait(lambda: echo.order == ["one"])
        second.cancel()
        assert second.result() == Answer("", "cancelled")
        assert list(second.follow()) == [second.result()]
        assert third.ahead == 1
        echo.go.release(2)
        assert (first.result().text, third.result().text) == ("one", "three")
    assert echo.order == ["one", "three"]


def test_cancel_of_a_finished_answer_changes_nothing() -> None:
    with Worker(Echo()) as worker:
        job = worker.submit(ask("one"))
        answer = job.result()
        job.cancel()
        assert job.result() is answer


@pytest.mark.parametrize(
    ("word", "kind", "message"),
    [
        ("fail", VQAError, "^echo failed to answer: out of memory$"),
        ("refuse", InputError, "^too long for this model$"),
        ("vanish", VQAError, "^echo stopped without an answer.$"),
    ],
)
def test_a_failure_reaches_every_follower_and_the_worker_lives_on(
    word: str, kind: type[VQAError], message: str
) -> None:
    with Worker(Echo()) as worker:
        job = worker.submit(ask(f"one {word} two"))
        for _ in range(2):
            with pytest.raises(kind, match=message):
                list(job.follow())
            with pytest.raises(kind, match=message):
                job.result()
        assert job.text == "one "
        assert job.done
        job.cancel()
        with pytest.raises(kind, match=message):
            job.result()
        assert worker.submit(ask("still here")).result().text == "still here"


def test_close_cancels_everything_and_ends_the_thread() -> None:
    echo = Echo(free=False)
    worker = Worker(echo)
    jobs = [worker.submit(ask(f"question {number}")) for number in range(3)]
    echo.go.release()
    wait(lambda: jobs[0].text == "question ")
    threading.Timer(0.05, echo.go.release).start()
    worker.close()
    assert [job.result().finish_reason for job in jobs] == ["cancelled"] * 3
    assert not worker._thread.is_alive()
    assert len(echo.order) == 1
    with pytest.raises(VQAError, match="has ended"):
        worker.submit(ask("more"))


def test_a_finished_question_is_not_kept() -> None:
    with Worker(Echo()) as worker:
        job = worker.submit(ask("one"))
        job.result()
        reference = weakref.ref(job)
        del job
        wait(lambda: gc.collect() >= 0 and reference() is None)
