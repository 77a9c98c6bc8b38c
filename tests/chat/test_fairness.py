"""The queue: everybody in turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.chat.test_worker import Echo, ask, wait
from vqa.chat import Worker


def test_one_who_asks_much_waits_for_others() -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        first = worker.submit(ask("a0"), "anna")
        wait(lambda: echo.order == ["a0"])
        many = [worker.submit(ask(f"a{n}"), "anna") for n in (1, 2, 3)]
        other = [worker.submit(ask(f"b{n}"), "ben") for n in (1, 2)]
        assert [job.ahead for job in [first, *many, *other]] == [0, 1, 3, 5, 2, 4]
        for _ in range(6):
            echo.go.release()
        for job in [first, *many, *other]:
            job.result()
        assert echo.order == ["a0", "a1", "b1", "a2", "b2", "a3"]


@given(st.lists(st.sampled_from("abcd"), max_size=12))
def test_the_place_in_the_queue_is_the_order_of_answers(owners: list[str]) -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        worker.submit(ask("first"), "z")
        wait(lambda: echo.order == ["first"])
        jobs = [worker.submit(ask(str(n)), owner) for n, owner in enumerate(owners)]
        places = [job.ahead for job in jobs]
        for _ in range(len(jobs) + 1):
            echo.go.release()
        for job in jobs:
            job.result()
        predicted = [str(n) for n in sorted(range(len(jobs)), key=places.__getitem__)]
        assert echo.order == ["first", *predicted]
        for owner in set(owners):  # of one owner in the order they came
            own = [str(n) for n, one in enumerate(owners) if one == owner]
            assert [text for text in echo.order if text in own] == own


def test_a_cancelled_question_makes_room() -> None:
    echo = Echo(free=False)
    with Worker(echo) as worker:
        worker.submit(ask("first"), "z")
        wait(lambda: echo.order == ["first"])
        gone, stays = worker.submit(ask("gone"), "a"), worker.submit(ask("stays"), "b")
        gone.cancel()
        assert stays.ahead == 1
        echo.go.release()
        echo.go.release()
        stays.result()
        assert echo.order == ["first", "stays"]
