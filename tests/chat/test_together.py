"""Answers that are written together: a long one holds up no other, and nothing is mixed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests import tiny
from tests.chat.test_service import upload
from tests.chat.test_worker import wait
from vqa.answering import Request, SamplingParams
from vqa.chat import Worker
from vqa.chat.history import History
from vqa.chat.service import ChatService
from vqa.chat.worker import Job
from vqa.engine import LocalEngine
from vqa.errors import InputError, VQAError
from vqa.inputs.prompts import Message
from vqa.models.checkpoints import LoadedModel, load

LONG = 3000  # tokens, seconds of even a tiny model


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A tiny model, its projections enlarged: as drawn, all logits are alike."""
    directory = tiny.llava_1_5(tmp_path_factory.mktemp("tiny"))
    loaded = load(str(directory), device="cpu", dtype="float32")
    with torch.no_grad():
        for name, weight in loaded.model.model.named_parameters():
            if weight.ndim == 2 and "embed" not in name:
                weight.mul_(5)
    return loaded


@pytest.fixture
def engine(loaded: LoadedModel) -> LocalEngine:
    """An engine whose answers are as long as they may be."""
    engine = LocalEngine(loaded)
    engine._ends = frozenset()
    return engine


@pytest.fixture
def worker(engine: LocalEngine) -> Iterator[Worker]:
    with Worker(engine) as worker:
        yield worker


def question(number: int, tokens: int, words: str = "what is it?") -> Request:
    picture = Image.effect_noise((28, 28), 90 + number).convert("RGB")
    return Request((Message("user", words, (picture,)),), SamplingParams(max_new_tokens=tokens))


def begun(*jobs: Job) -> None:
    wait(lambda: all(job.text for job in jobs))


def test_a_short_answer_does_not_wait_for_a_long_one(worker: Worker, engine: LocalEngine) -> None:
    long = worker.submit(question(0, LONG), "anna")
    begun(long)
    short = question(1, 3)
    answer = worker.submit(short, "ben").result()
    assert not long.done
    (alone,) = engine.answer([short])
    assert (answer.text, answer.finish_reason) == (alone.text, "length")
    assert answer.probability == pytest.approx(alone.probability, rel=1e-3)
    long.cancel()
    assert long.result().finish_reason == "cancelled" and long.text


def test_the_pieces_are_the_answer(worker: Worker) -> None:
    others = [worker.submit(question(number, LONG), str(number)) for number in range(3)]
    *pieces, answer = worker.submit(question(4, 40), "anna").follow()
    assert "".join(map(str, pieces)) == answer.text  # type: ignore[union-attr]
    assert len(pieces) > 1 and not any(job.done for job in others)


def test_whoever_asks_much_leaves_places_to_others(worker: Worker) -> None:
    many = [worker.submit(question(number, LONG), "anna") for number in range(8)]
    begun(*many[:4])
    other = worker.submit(question(9, 3), "ben")
    assert other.result().finish_reason == "length"
    wait(lambda: [job.ahead for job in many] == [0, 0, 0, 0, 4, 5, 6, 7])
    assert not any(job.text for job in many[4:])
    many[0].cancel()
    begun(many[4])
    assert not many[5].text


def test_a_place_becomes_free_when_an_answer_is_cancelled(worker: Worker) -> None:
    everybody = [worker.submit(question(number, LONG), str(number)) for number in range(8)]
    begun(*everybody)
    late = worker.submit(question(9, 3), "late")
    assert late.ahead == 8 and not late.done
    everybody[3].cancel()
    assert late.result().finish_reason == "length"
    assert [job.done for job in everybody] == [number == 3 for number in range(8)]


def test_a_question_that_is_refused_disturbs_nobody(worker: Worker) -> None:
    long = worker.submit(question(0, LONG), "anna")
    begun(long)
    with pytest.raises(InputError, match="tokens"):
        worker.submit(question(1, 3, "word " * 9000), "ben").result()
    before = long.text
    wait(lambda: long.text != before)
    assert worker.submit(question(1, 3), "ben").result().finish_reason == "length"


def test_a_failure_of_the_model_ends_all_answers_and_not_the_worker(
    worker: Worker, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [worker.submit(question(number, LONG), str(number)) for number in range(2)]
    begun(*jobs)

    def fail(decoder: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(engine, "step", fail)
    for job in jobs:
        with pytest.raises(VQAError, match="failed to answer: out of memory"):
            job.result()
    assert worker.submit(question(2, 3), "anna").result().finish_reason == "length"
    wait(lambda: worker.idle)


def test_beams_are_searched_between_the_steps(worker: Worker, engine: LocalEngine) -> None:
    long = worker.submit(question(0, LONG), "anna")
    begun(long)
    settings = SamplingParams(max_new_tokens=3, num_beams=2)
    request = Request(question(1, 3).messages, settings)
    assert worker.submit(request, "ben").result().text == engine.answer([request])[0].text
    assert not long.done


def test_close_ends_all_answers(engine: LocalEngine) -> None:
    worker = Worker(engine)
    jobs = [worker.submit(question(number, LONG), str(number)) for number in range(10)]
    begun(*jobs[:8])
    worker.close()
    assert [job.result().finish_reason for job in jobs] == ["cancelled"] * 10


def test_a_finished_question_is_not_kept(worker: Worker) -> None:
    job = worker.submit(question(0, 3), "anna")
    job.result()
    reference = weakref.ref(job)
    del job
    wait(lambda: gc.collect() >= 0 and reference() is None)


def test_twenty_people_get_their_own_answers(
    loaded: LoadedModel, engine: LocalEngine, tmp_path: Path
) -> None:
    """Each asks twice about a picture of their own, of another length, beside a long answer."""
    history = History(tmp_path)
    alone = LocalEngine(loaded)
    alone._ends = frozenset()
    with Worker(engine) as worker:
        service = ChatService(history, lambda: worker)
        guest = history.start("guest")
        long = service.ask("guest", guest, "what?", [upload()], SamplingParams(max_new_tokens=LONG))

        def converse(number: int) -> tuple[list[str], list[str]]:
            owner, key = f"owner {number}", history.start(f"owner {number}")
            settings = SamplingParams(max_new_tokens=3 + number % 7)
            pictures = [upload(f"#{12 * number:02x}{255 - 12 * number:02x}00")]
            expected = []
            for words in (f"what is {number}?", "and now?"):
                service.wait(service.ask(owner, key, words, pictures, settings))
                branch = history.branch(owner, key)
                asked = service.conversation(owner, branch[:-1], key).request(settings)
                expected += [words, alone.answer([asked])[0].text.strip()]
                pictures = []
            return expected, [turn.text.strip() for turn in history.branch(owner, key)]

        with ThreadPoolExecutor(20) as pool:
            outcomes = list(pool.map(converse, range(20)))
        assert service.job(long) is not None  # it was written all the time
        service.stop("guest", long)
        service.wait(long)
    assert [texts for _, texts in outcomes] == [expected for expected, _ in outcomes]
    assert len({tuple(texts) for _, texts in outcomes}) == 20
    assert history.branch("guest", guest)[-1].state == "stopped"
