import pytest

from vqa.errors import InputError
from vqa.metrics.retrieval import ranks, recall_at


def test_recall() -> None:
    ranks = [1, 2, 5, 6, 11]
    assert recall_at(ranks) == {"recall_at_1": 0.2, "recall_at_5": 0.6, "recall_at_10": 0.8}
    assert recall_at(ranks, ks=(2,)) == {"recall_at_2": 0.4}


@pytest.mark.parametrize("ranks", [[], [0, 1]])
def test_ranks_count_from_one(ranks: list[int]) -> None:
    with pytest.raises(InputError):
        recall_at(ranks)


def test_ranks_count_what_is_better_and_what_is_equal() -> None:
    scores = [[0.9, 0.5, 0.1], [0.2, 0.2, 0.2]]
    right = [[False, True, True], [True, False, False]]
    assert ranks(scores, right).tolist() == [2, 3]
