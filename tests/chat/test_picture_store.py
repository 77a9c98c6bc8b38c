"""A picture is decoded and hashed once for all questions about it, as long as it is cached."""

from __future__ import annotations

import gc
import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests import tiny
from tests.chat.test_service import ANNA, upload
from tests.chat.test_worker import Echo
from vqa.answering import SamplingParams
from vqa.chat import Worker
from vqa.chat.history import History
from vqa.chat.picture_store import DecodedPictures
from vqa.chat.service import ChatService, Upload
from vqa.chat.turn import StoredPicture
from vqa.engine import LocalEngine
from vqa.errors import InputError
from vqa.inputs import images
from vqa.models.checkpoints import load
from vqa.utils import fingerprint

BRIEF = SamplingParams(max_new_tokens=2)
PICTURE_BYTES = 8 * 6 * 4  # decoded, of an `upload`


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    model = tiny.llava_1_5(tmp_path_factory.mktemp("tiny"))
    return LocalEngine(load(str(model), device="cpu", dtype="float32"))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many pictures are decoded and hashed, by whatever code."""
    done: Counter[str] = Counter()
    finish, of_image = images._finish, fingerprint.of_image

    def counted_finish(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
        done["decoded"] += 1
        return finish(image, name, max_pixels)

    def counted_of_image(image: Image.Image) -> str:
        done["hashed"] += 1
        return of_image(image)

    monkeypatch.setattr(images, "_finish", counted_finish)
    monkeypatch.setattr(fingerprint, "of_image", counted_of_image)
    return done


@pytest.fixture
def service(tmp_path: Path, engine: LocalEngine) -> Iterator[ChatService]:
    with Worker(engine) as worker:
        service = ChatService(History(tmp_path), lambda: worker)
        yield service
    service.history.close()


def spent(work: Counter[str]) -> tuple[int, int]:
    """Pictures decoded and hashed since the last call."""
    counts = work["decoded"], work["hashed"]
    work.clear()
    return counts


def test_a_follow_up_question_decodes_and_hashes_nothing(
    service: ChatService, work: Counter[str]
) -> None:
    colour = iter(range(100))

    def ask(question: str, *pictures: Upload) -> str:
        answer = service.ask(ANNA, key, question, pictures, BRIEF)
        service.wait(answer)
        assert service.history.turn(ANNA, answer).state == "done"
        return answer

    def new() -> Upload:
        return upload(f"#0000{next(colour):02x}")

    key = service.history.start(ANNA)
    first = ask("What is it?", new())
    assert spent(work) == (1, 1)
    for question in ("And now?", "Which colour?", "Why?", "Where?"):
        last = ask(question)
        assert spent(work) == (0, 0)
    service.wait(service.answer_again(ANNA, last, BRIEF))
    assert spent(work) == (0, 0)
    service.wait(service.answer_again(ANNA, first, BRIEF))
    question = service.history.branch(ANNA, key)[0].id
    service.wait(service.ask_again(ANNA, question, "What else?", BRIEF))
    assert spent(work) == (0, 0)
    ask("And these?", new(), new())
    assert spent(work) == (2, 2)
    ask("All three?")
    assert spent(work) == (0, 0)


def test_other_conversations_and_owners_share_it(service: ChatService, work: Counter[str]) -> None:
    for owner in (ANNA, ANNA, "ben"):
        key = service.history.start(owner)
        service.wait(service.ask(owner, key, "What?", [upload("#000100", "any name.png")], BRIEF))
    assert spent(work) == (1, 1)


def test_a_new_server_and_a_dropped_picture_cost_one(
    service: ChatService, work: Counter[str], engine: LocalEngine
) -> None:
    key = service.history.start(ANNA)
    service.wait(service.ask(ANNA, key, "What?", [upload("#000200")], BRIEF))
    spent(work)
    with Worker(engine) as worker:
        small = ChatService(
            service.history, lambda: worker, pictures=DecodedPictures(PICTURE_BYTES)
        )
        small.wait(small.ask(ANNA, key, "And now?", settings=BRIEF))
        assert spent(work) == (1, 1)
        small.wait(small.ask(ANNA, key, "And now?", settings=BRIEF))
        assert spent(work) == (0, 0)
        other = small.history.start(ANNA)
        small.wait(small.ask(ANNA, other, "What?", [upload("#000300")], BRIEF))
        assert spent(work) == (1, 1)
        small.wait(small.ask(ANNA, key, "And then?", settings=BRIEF))
        assert spent(work) == (1, 1)


def test_a_note_decodes_once_and_the_question_after_it_nothing(
    service: ChatService, work: Counter[str]
) -> None:
    key = service.history.start(ANNA)
    service.note(ANNA, key, "这是什么?", "English only.", [upload("#000400")])
    assert spent(work) == (1, 0)
    service.wait(service.ask(ANNA, key, "What?", settings=BRIEF))
    assert spent(work) == (0, 1)


@pytest.mark.slow
def test_memory_stays_bounded_with_many_guests(tmp_path: Path) -> None:
    def alive() -> int:
        gc.collect()
        return sum(type(one) is Image.Image and one.size == (8, 6) for one in gc.get_objects())

    pictures = DecodedPictures(5 * PICTURE_BYTES)
    with Worker(Echo()) as worker:
        service = ChatService(History(tmp_path), lambda: worker, pictures=pictures)
        before = alive()

        def chat(number: int) -> None:
            owner = f"guest {number}"
            key = service.history.start(owner)
            for question in ("one", "two"):
                new = [upload(f"#{number:02x}{side:02x}{len(question):02x}") for side in (1, 2)]
                service.wait(service.ask(owner, key, question, new))
                assert pictures._cache.bytes <= 5 * PICTURE_BYTES

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(chat, range(30)))
        assert pictures._cache.bytes == 5 * PICTURE_BYTES
        assert alive() - before <= 5


def test_a_picture_beyond_the_limit_is_used_and_not_cached(tmp_path: Path) -> None:
    pictures = DecodedPictures(100)
    image = pictures.load(upload().content)
    assert image.size == (8, 6)
    assert pictures._cache.bytes == 0
    assert pictures.load(upload().content) is not image


def test_a_bad_picture_is_refused_every_time_by_its_name() -> None:
    pictures = DecodedPictures()
    for name in ("notes.png", "other.png"):
        with pytest.raises(InputError, match=rf"^{name} is text"):
            pictures.load(b"text", name)
    assert pictures._cache.bytes == 0


def test_a_stored_picture_whose_file_is_gone(tmp_path: Path) -> None:
    pictures, content = DecodedPictures(), upload().content
    path = tmp_path / fingerprint.of_bytes(content)
    path.write_bytes(content)
    stored = StoredPicture("photo.png", path)
    assert pictures.load(content) is pictures.load_stored(stored)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        pictures.load_stored(stored)


def test_threads_that_load_it_at_once_get_one_object() -> None:
    file = io.BytesIO()
    Image.effect_noise((600, 400), 50).save(file, "PNG")
    pictures = DecodedPictures()
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(pictures.load, [file.getvalue()] * 8))
    assert all(image is loaded[0] for image in loaded)
    assert pictures._cache.bytes == 600 * 400 * 4
