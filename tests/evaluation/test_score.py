import json
from pathlib import Path

import pytest

from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.score import commonest_answer, read_predictions, score
from vqa.metrics import metric


def rows(*answers: tuple[str, ...]) -> list[Example]:
    return [Example(i, (), "What?", accepted) for i, accepted in enumerate(answers)]


def test_right_wrong_missing_and_failed() -> None:
    data = rows(("cat",), ("cat", "kitten"), ("dog",), ("cat",), ("bird",))
    found = score(
        data, {0: "A cat.", 1: "kitten", 2: "cat", 3: None, 9: "cat"}, metric("exact_match")
    )
    assert found.score == pytest.approx(2 / 5)
    assert found.rows == ((0, 1.0), (1, 1.0), (2, 0.0), (3, 0.0), (4, 0.0))
    assert (found.missing, found.errors, found.unknown) == ((4,), (3,), (9,))
    assert (found.commonest_answer, found.commonest_score) == ("cat", pytest.approx(3 / 5))


def test_bleu_is_of_the_corpus() -> None:
    data = rows(("a dog runs on grass",), ("a cat sleeps on the warm mat",))
    found = score(data, {0: "A dog runs on grass.", 1: "A cat."}, metric("bleu"))
    assert found.score != pytest.approx(sum(value for _, value in found.rows) / 2)
    assert found.rows[0] == (0, pytest.approx(1.0))


def test_json_is_one_object_and_ids_keep_their_type() -> None:
    data = [Example("7", (), "?", ("a cat",)), Example(7, (), "?", ("dog",))]
    found = score(data, {"7": "cat", 7: "cat"}, metric("exact_match"))
    parsed = json.loads(json.dumps(found.to_json(with_rows=True)))
    assert parsed["score"] == 0.5
    assert parsed["rows"] == [{"id": "7", "score": 1.0}, {"id": 7, "score": 0.0}]
    assert "rows" not in found.to_json()


def test_predictions_of_other_data_are_refused() -> None:
    with pytest.raises(InputError, match="other data"):
        score(rows(("cat",)), {"x": "cat"}, metric("exact_match"))
    with pytest.raises(InputError, match="no rows"):
        score([], {}, metric("exact_match"))
    with pytest.raises(InputError, match="bleu, exact_match"):
        metric("exactmatch")


def test_commonest_answer_counts_rows() -> None:
    answers = [("dog",), ("cat", "cat", "cat"), ("dog", "cat"), ("dog",)]
    assert commonest_answer(answers) == "dog"
    assert commonest_answer([("b",), ("a",)]) == "b"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (['{"id": 1, "prediction": "a"}', '{"id": 1, "prediction": "b"}'], ":2: the id 1 is"),
        (['{"prediction": "a"}'], ":1: no id"),
        (['{"id": true, "prediction": "a"}'], ":1: no id"),
        (['{"id": 1}'], ":1: no prediction"),
        (['{"id": 1, "prediction": 2}'], ":1: no prediction"),
        (["nonsense", '{"id": 1, "prediction": "a"}'], "line 1"),
    ],
)
def test_bad_prediction_files(tmp_path: Path, lines: list[str], problem: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=problem):
        read_predictions(path)


def test_error_rows_and_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": 1, "prediction": ""}\n{"id": "1", "error": "broken"}\n{"id": 2, "pre')
    assert read_predictions(path) == {1: "", "1": None}
