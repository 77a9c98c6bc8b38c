"""What an answer rests on, laid over its pictures: on the page, and computed in advance."""

from __future__ import annotations

import gc
import io
import threading
import time
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from streamlit.testing.v1 import AppTest

import vqa.loading
from app.answer_maps import AnswerMaps, MapJob
from app.state import answer_maps, chats
from tests.app.fake import Parrot
from tests.app.test_page import ask, captions, opened, png, press
from vqa.answering import Request
from vqa.chat.service import Upload
from vqa.chat.turn import Mark
from vqa.chat.worker import Worker
from vqa.errors import VQAError
from vqa.inputs.boxes import Box
from vqa.inputs.prompts import Message

ON, OFF = "Where it looked", "Without the map"


class Seer(Parrot):
    """A parrot that knows how likely an answer is: the more of the upper left is red."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()
        self.reads = threading.Event()
        self.scored = 0  # requests
        self.most = 0  # of them in one go
        self.values = np.pad(np.ones((1, 1), np.float32), (0, 7))

    def attention_map(self, request: Request) -> NDArray[np.float32]:
        if "break" in request.messages[-1].text:
            raise RuntimeError("out of\nmemory")
        return self.values

    def score_choices(
        self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        self.reads.set()
        assert self.go.wait(20)
        self.scored += len(requests)
        self.most = max(self.most, len(requests))
        reds = [np.asarray(request.images[-1])[:5, :5, 0].mean() for request in requests]
        return [[float(-5 * (1 - red / 255))] for red in reds]


@pytest.fixture
def seer(parrot: Parrot, monkeypatch: pytest.MonkeyPatch) -> Seer:
    answerer = Seer()
    monkeypatch.setattr(vqa.loading, "load_choice", lambda choice: answerer)
    return answerer


def corner_picture() -> tuple[str, bytes]:
    """A blue picture with a red corner."""
    picture = Image.new("RGB", (40, 40), "blue")
    picture.paste((255, 0, 0), (0, 0, 5, 5))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "corner.png", file.getvalue()


def alts(page: AppTest) -> list[str]:
    return [one.proto.imgs[0].alt for one in page.main.image]


def pressed(page: AppTest, label: str) -> AppTest:
    """Press a button, and run the page until the map is there, as a browser does by itself."""
    press(page, label)
    job = page.session_state.get("map-layer")
    if job is not None:
        assert job.done.wait(20)
        page.run()
    assert not page.exception
    return page


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_map_is_laid_over_the_picture_and_taken_away(seer: Seer) -> None:
    page = ask(opened(), "What?", corner_picture())
    assert alts(page) == ["corner.png"]
    pressed(page, ON)
    assert alts(page) == ["corner.png, and where the model looked"]
    assert any("can be trusted roughly" in one for one in captions(page))
    (fold,) = [one for one in page.expander if one.label == "About this map"]
    assert [one.value.split(",")[0].split(" ")[0] for one in fold.caption] == [
        "Deletion",
        "Insertion",
    ]
    pressed(page, OFF)
    assert alts(page) == ["corner.png"]
    assert not any("trusted" in one for one in captions(page))


def test_a_map_is_laid_over_the_picture_before_it_is_checked(seer: Seer) -> None:
    page = ask(opened(), "What?", corner_picture())
    job_of(page).stop.set()
    assert job_of(page).done.wait(20)
    seer.go.clear()
    answer_maps()._jobs.clear()
    press(page, ON)
    job = page.session_state["map-layer"]
    wait(lambda: job.shown is not None)
    page.run()
    assert alts(page) == ["corner.png, and where the model looked"] and job.explanation is None
    assert not any("trusted roughly" in one for one in captions(page))
    (bar,) = page.get("progress")
    assert bar.proto.text.startswith("Do not trust this map yet")
    seer.go.set()
    assert job.done.wait(20)
    page.run()
    assert any("can be trusted roughly" in one for one in captions(page))
    assert not page.exception and not page.get("progress")


def test_a_map_that_is_no_better_than_a_random_one_is_not_to_be_trusted(seer: Seer) -> None:
    seer.values = 1 - seer.values
    page = pressed(ask(opened(), "What?", corner_picture()), ON)
    assert [one.value for one in page.warning] == [
        "Do not trust this map: it explains nothing, it is no better than a random one."
    ]


def test_a_map_of_a_model_that_cannot_score_it_says_so(parrot: Parrot) -> None:
    page = pressed(ask(opened(), "What?", ("a.png", png())), ON)
    assert any("not known" in one for one in captions(page))


def test_a_follow_up_shows_all_the_pictures_that_it_is_about(seer: Seer) -> None:
    page = ask(opened(), "What?", ("a.png", png()))
    ask(page, "And now?", ("b.png", png("blue")))
    press(page, ON, at=1)
    assert page.session_state["map-layer"].done.wait(20)
    page.run()
    marked = ["a.png, and where the model looked", "b.png, and where the model looked"]
    assert alts(page) == ["a.png", *marked]


def test_the_map_of_a_marked_part_lies_over_that_part_alone(seer: Seer) -> None:
    page = ask(opened(), "What?", corner_picture())
    conversation = chats().history.conversations("local")[0].id
    part = Upload(*corner_picture(), Mark(Box(0, 0, 0.5, 0.5), alone=True))
    chats().wait(chats().ask("local", conversation, "And this?", [part]))
    page.run()
    press(page, ON, at=1)
    assert page.session_state["map-layer"].done.wait(20)
    page.run()
    assert alts(page) == ["corner.png", "corner.png, and where the model looked"]
    assert not page.exception


def test_another_version_of_the_answer_has_a_map_of_its_own(seer: Seer) -> None:
    page = pressed(ask(opened(), "What?", corner_picture()), ON)
    press(page, "Again")
    assert alts(page) == ["corner.png"]
    assert [one.label for one in page.button if one.label in (ON, OFF)] == [ON]


def test_a_model_without_maps_offers_none(parrot: Parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Parrot, "attention_map")
    page = ask(opened(), "What?", ("a.png", png()))
    assert ON not in [button.label for button in page.button]


def test_a_failure_is_shown_and_the_next_click_tries_anew(seer: Seer) -> None:
    page = pressed(ask(opened(), "break?", corner_picture()), ON)
    assert [one.value for one in page.error] == ["parrot failed\\: out of memory"]
    assert alts(page) == ["corner.png"]
    first = page.session_state["map-layer"]
    pressed(pressed(page, OFF), ON)
    assert page.session_state["map-layer"] is not first


def job_of(page: AppTest) -> MapJob:
    answer = chats().history.branch("local", page.query_params["c"])[-1]
    return answer_maps()._jobs[answer.id, "attention"]


def begun(maps: AnswerMaps, request: Request, in_advance: bool = True, answer: str = "a") -> MapJob:
    return maps.begin(answer, "attention", lambda: (request, "red"), in_advance)


@pytest.fixture
def request_of() -> Request:
    return Request((Message("user", "What?", (Image.new("RGB", (40, 40), "red"),)),))


def test_a_map_in_advance_is_made_in_small_steps_and_cached(request_of: Request) -> None:
    seer = Seer()
    with Worker(seer) as worker:
        maps = AnswerMaps(lambda: worker)
        job = begun(maps, request_of)
        assert job.done.wait(20) and job.explanation is not None and job.progress == 1
        assert seer.most == 1
        assert begun(maps, request_of, in_advance=False) is job


def test_a_question_drops_a_map_in_advance(request_of: Request) -> None:
    seer = Seer()
    seer.go.clear()
    with Worker(seer) as worker:
        maps = AnswerMaps(lambda: worker)
        job = begun(maps, request_of)
        assert seer.reads.wait(20)
        answer = worker.submit(request_of)
        assert answer.result().text  # while the map still reads a version of the picture
        seer.go.set()
        assert job.done.wait(20) and job.dropped and seer.scored == 1
        again = begun(maps, request_of, in_advance=False)
        assert again is not job and again.done.wait(20) and again.explanation is not None


def test_another_model_drops_a_map_in_advance_too(request_of: Request) -> None:
    seer = Seer()
    seer.go.clear()
    with Worker(seer) as worker:
        maps = AnswerMaps(lambda: worker)
        job = begun(maps, request_of)
        assert seer.reads.wait(20)
        maps.drop_in_advance()
        seer.go.set()
        assert job.done.wait(20) and job.dropped and seer.scored == 1


def test_a_question_waits_for_nothing_but_drops_no_map_that_is_asked_for(
    request_of: Request,
) -> None:
    seer = Seer()
    seer.go.clear()
    with Worker(seer) as worker:
        job = begun(AnswerMaps(lambda: worker), request_of, in_advance=False)
        assert seer.reads.wait(20)
        assert worker.submit(request_of).result().text
        seer.go.set()
        assert job.done.wait(20) and job.explanation is not None


def test_no_map_is_made_in_advance_while_something_else_is_done(request_of: Request) -> None:
    seer = Seer()
    with Worker(seer) as worker, worker.beside(threading.Event()):
        job = begun(AnswerMaps(lambda: worker), request_of)
        assert job.done.wait(20) and job.dropped and not seer.scored


def test_few_maps_are_cached_and_those_of_another_model_go(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.answer_maps._MOST", 2)
    seers = [Seer(), Seer()]
    with Worker(seers[0]) as first, Worker(seers[1]) as second:
        now = [first]
        maps = AnswerMaps(lambda: now[0])
        jobs = [begun(maps, request_of, False, str(number)) for number in range(3)]
        assert all(job.done.wait(20) for job in jobs)
        assert begun(maps, request_of, answer="2") is jobs[2]
        assert begun(maps, request_of, answer="0") is not jobs[0]
        now[0] = second
        assert begun(maps, request_of, answer="2") is not jobs[2]


def test_an_exchanged_model_does_not_stay_in_memory(request_of: Request) -> None:
    now = [Worker(Seer())]
    reference = weakref.ref(now[0].answerer)
    maps = AnswerMaps(lambda: now[0])
    assert begun(maps, request_of, in_advance=False).done.wait(20)
    now.pop().close()
    wait(lambda: gc.collect() >= 0 and reference() is None)
    assert maps._jobs


def test_closing_the_model_ends_a_map(request_of: Request) -> None:
    seer = Seer()
    seer.go.clear()
    worker = Worker(seer)
    maps = AnswerMaps(lambda: worker)
    job = begun(maps, request_of, in_advance=False)
    assert seer.reads.wait(20)
    closing = threading.Thread(target=worker.close)
    closing.start()
    wait(job.stop.is_set)
    seer.go.set()
    closing.join(20)
    assert job.done.wait(20) and job.dropped
    failed = begun(maps, request_of, in_advance=False)
    assert failed.done.wait(20) and "exchanged" in failed.error
    with pytest.raises(VQAError):
        AnswerMaps(lambda: _raise()).begin("a", "attention", lambda: (request_of, "red"))


def _raise() -> Worker:
    raise VQAError("none yet")


def test_the_newest_answer_is_mapped_before_anybody_asks(seer: Seer) -> None:
    page = ask(opened(), "What?", corner_picture())
    job = job_of(page)
    assert job.in_advance and job.done.wait(20) and job.explanation is not None
    press(page, ON)
    assert alts(page) == ["corner.png, and where the model looked"]  # at once
