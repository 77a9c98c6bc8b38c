"""Which rows are answered together, and how far ahead their pictures are read."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.batch_plan import Batch, plan_batches, take_shard
from vqa.evaluation.prefetch import prefetch


def rows(*pictures: str) -> list[Example]:
    """A row for each text: its letters are the pictures."""
    return [Example(i, tuple(names), "?") for i, names in enumerate(pictures)]


def ids(batches: list[Batch]) -> list[list[str | int]]:
    return [[row.id for group in batch for row in group.rows] for batch in batches]


def test_rows_of_a_picture_stay_together_in_the_order_of_pictures() -> None:
    assert ids(plan_batches(rows("a", "b", "a", "c", "b", "d"), 4)) == [[0, 2, 1, 4], [3, 5]]
    assert ids(plan_batches(rows("a", "a", "a", "b", "b", "c"), 4)) == [[0, 1, 2], [3, 4, 5]]


def test_rows_with_more_pictures_come_last() -> None:
    assert ids(plan_batches(rows("ab", "a", "", "b", "ba"), 2)) == [[2, 1], [3, 0], [4]]


def test_a_large_group_is_cut_by_length() -> None:
    texts = ("long question", "?", "longer question", "what?")
    examples = [Example(i, ("a",), text) for i, text in enumerate(texts)]
    assert ids(plan_batches(examples, 2)) == [[1, 3], [0, 2]]
    assert ids(plan_batches(examples, 4)) == [[0, 1, 2, 3]]


@given(
    st.lists(st.text("abc", max_size=2), max_size=30),
    st.integers(1, 8),
    st.integers(1, 5),
)
def test_every_row_is_in_one_batch_of_one_shard(pictures: list[str], size: int, count: int) -> None:
    batches = plan_batches(rows(*pictures), size)
    planned = [row for batch in ids(batches) for row in batch]
    assert sorted(planned) == list(range(len(pictures)))  # type: ignore[type-var]
    assert all(0 < len(batch) <= size for batch in ids(batches))
    groups = [group.images for batch in batches for group in batch]
    again = [images for n, images in enumerate(groups) if images in groups[:n]]
    assert all(sum(tuple(p) == tuple(map(str, i)) for p in pictures) > size for i in again)
    parts = [batch for n in range(count) for batch in take_shard(batches, n + 1, count)]
    assert parts == batches
    sizes = [len(take_shard(batches, n + 1, count)) for n in range(count)]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("number", "count"), [(0, 2), (3, 2), (1, 0), (-1, -1)])
def test_there_is_no_such_shard(number: int, count: int) -> None:
    with pytest.raises(InputError, match="no shard"):
        take_shard([], number, count)


def test_results_come_in_order_and_no_more_than_allowed_wait() -> None:
    lock = threading.Lock()
    begun: list[int] = []
    most = 0
    taken = 0

    def work(number: int) -> int:
        nonlocal most
        with lock:
            begun.append(number)
            most = max(most, len(begun) - taken)
        time.sleep(0.002 if number % 3 else 0.006)
        return number

    with closing(
        prefetch(work, range(40), lambda _: 1, threads=3, most=6, most_size=100)
    ) as results:
        for expected in range(40):
            assert next(results) == expected
            taken += 1
        assert next(results, None) is None
    assert most <= 6 + 1  # the one that is being taken
    assert sorted(begun) == list(range(40))


def test_large_results_stop_the_work() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return 10

    results = prefetch(work, range(100), lambda cost: cost, threads=2, most=50, most_size=20)
    with closing(results):
        next(results)
        time.sleep(0.1)
        assert len(begun) <= 1 + 2 + 1  # taken, 20 in all, and what the second thread had begun
    before = threading.active_count()
    time.sleep(0.05)
    assert threading.active_count() <= before and len(begun) <= 4


def test_an_error_comes_when_its_turn_comes() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    results = prefetch(work, range(5), lambda _: 1, threads=4, most=5, most_size=9)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
