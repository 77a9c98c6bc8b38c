"""Files of predictions as people have them: read with the right value, or refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqa.data import read
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.predictions import Prediction, read_begun, read_predictions

ROWS = [{"id": 1, "prediction": "red"}, {"id": 2, "prediction": "blue"}]
RESULTS = [{"question_id": 1, "answer": "red"}, {"question_id": 2, "answer": "blue"}]
BOTH = {1: Prediction("red"), 2: Prediction("blue")}


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (['{"id": 1, "prediction": "a"}', '{"id": 1, "prediction": "b"}'], ":2: the id 1 is"),
        (['{"prediction": "a"}'], ":1: no id"),
        (['{"id": true, "prediction": "a"}'], ":1: no id"),
        (['{"id": 1}'], ":1: no prediction"),
        (['{"id": 1, "prediction": 2}'], ":1: no prediction"),
        (['{"id": 1, "prediction": "a", "probability": "high"}'], ":1: the probability 'high'"),
        (['{"id": 1, "prediction": "a", "probability": 2}'], ":1: the probability 2"),
        (['{"id": 1, "prediction": "a", "probability": NaN}'], ":1: the probability nan"),
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
    path.write_text(
        '{"id": 1, "prediction": "", "probability": 0.5, "choices": []}\n'
        '{"id": "1", "error": "broken"}\n{"id": 2, "pre'
    )
    assert read_predictions(path) == {
        1: Prediction("", 0.5), "1": Prediction(None, error="broken")
    }  # fmt: skip


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["id", "prediction", "probability", "error"]),
                                VALUES), max_size=4))  # fmt: skip
def test_any_rows_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    try:
        read = read_predictions(path)
    except InputError:
        return
    assert [*read] == [row["id"] for row in rows]
    assert all(p.probability is None or 0 <= p.probability <= 1 for p in read.values())


# what holds no predictions, as it comes from a shell, an editor, a notebook or the wrong command
NOTHING: dict[str, bytes] = {
    "a list in one line": b'[{"id":1,"prediction":"red"}]',
    "a list in one line that ends": b'[{"id":1,"prediction":"red"}]\n',
    "a list over lines": json.dumps(ROWS, indent=2).encode(),
    "an empty list": b"[]",
    "a list of texts": b'["red", "blue"]',
    "an empty file": b"",
    "blank lines": b"\n\n  \n",
    "only a byte order mark": b"\xef\xbb\xbf",
    "a text": b"red",
    "a text that ends": b"The picture is red.\n",
    "a line that is no object behind good ones": lines(ROWS).encode() + b"[1",
    "a text behind good ones": lines(ROWS).encode() + b"done",
    "a comma behind a row": lines(ROWS[:1]).encode() + b'{"id": 2, "prediction": "blue"},',
    "a row that was torn, alone": b'{"id": 1, "predic',
    "an object over lines": json.dumps(ROWS[0], indent=2).encode(),
    "an object with the list": json.dumps({"results": RESULTS}).encode(),
    "an object of texts by id": b'{"1": "red", "2": "blue"}',
    "a table": b"id,prediction\n1,red\n2,blue",
    "UTF-16": lines(ROWS).encode("utf-16"),
    "UTF-16 without a mark": lines(ROWS).encode("utf-16-le"),
    "line ends of an old Mac": lines(ROWS).replace("\n", "\r").encode(),
    "Python, not JSON": b"{'id': 1, 'prediction': 'red'}",
    "packed": gzip.compress(lines(ROWS).encode()),
    "the data": b'{"id": 1, "image": "a.png", "question": "What?", "answer": "red"}\n',
    "a list that was torn": json.dumps(RESULTS).encode()[:-3],
    "a list of results and others": json.dumps([*RESULTS, 3]).encode(),
    "results without a text": b'[{"question_id": 1, "answer": 2}]',
    "results with an id twice": json.dumps(RESULTS * 2).encode(),
}


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
@pytest.mark.parametrize("content", NOTHING.values(), ids=NOTHING.keys())
def test_what_holds_no_predictions_is_refused(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"p{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name) as refused:
        read_predictions(path)
    assert "\n" not in str(refused.value)


def test_a_directory_and_what_is_not_there_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.jsonl", Path("no/such")):
        with pytest.raises(InputError, match=path.name):
            read_predictions(path)


def named(key: str, text: str) -> list[dict[str, Any]]:
    return [{key: row["id"], text: row["prediction"]} for row in ROWS]


TABLE = pd.DataFrame(RESULTS)
WINDOWS = b"\xef\xbb\xbf" + json.dumps(RESULTS, indent=1).replace("\n", "\r\n").encode()
FORMS: dict[str, bytes] = {
    "results": json.dumps(RESULTS).encode(),
    "results over lines": json.dumps(RESULTS, indent=4).encode(),
    "results of Windows": WINDOWS,
    "results of pandas": TABLE.to_json(orient="records").encode(),
    "lines of pandas": TABLE.to_json(orient="records", lines=True).encode(),
    "lines with whole floats": lines([row | {"id": float(row["id"])} for row in ROWS]).encode(),
    "results with more columns": json.dumps([row | {"image_id": 9} for row in RESULTS]).encode(),
    "GQA": json.dumps(named("questionId", "prediction")).encode(),
    "DocVQA": json.dumps(named("questionId", "answer")).encode(),
    "COCO": json.dumps(named("image_id", "caption")).encode(),
    "lines": lines(ROWS).encode(),
    "lines of Windows without the last end": lines(ROWS).replace("\n", "\r\n").rstrip().encode(),
    "a torn line": lines(ROWS).encode() + b'{"id": 3, "pre',
    "a line torn in a letter": lines(ROWS).encode() + b'{"id": 3, "\xc3',
    "a line torn behind a bracket": lines(ROWS).encode() + b'{"id": 3, "choices": [{"text": "a"}',
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS.keys())
def test_every_known_form_is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    assert read_predictions(path) == BOTH


def test_ids_join_rows_that_differ_only_in_their_type(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(lines([{"id": key, "prediction": "a"} for key in (1, "2", "x", 3.0)]))
    rows = [Example(key, (), "?", ("a",)) for key in ("1", 2, "3", "y")]
    assert list(read_predictions(path, rows)) == ["1", 2, "x", "3"]
    # where the data tell them apart, so do the predictions
    rows = [Example(key, (), "?", ("a",)) for key in ("1", 1)]
    path.write_text(lines([{"id": "1", "prediction": "text"}, {"id": 1, "prediction": "number"}]))
    assert {key: p.text for key, p in read_predictions(path, rows).items()} == {
        "1": "text", 1: "number",
    }  # fmt: skip
    assert list(read_predictions(path, rows[:1])) == ["1", 1]


def test_a_run_that_has_begun_may_have_no_predictions_yet(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    for content in ("", '{"id": 1, "pre'):
        path.write_text(content)
        assert read_begun(path) == {}
    path.write_text(lines(ROWS))
    assert read_begun(path) == BOTH
    path.write_text("red")
    with pytest.raises(InputError, match=r"p\.jsonl"):
        read_begun(path)


def test_a_right_answer_is_no_prediction(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        lines(
            [
                {"question_id": 1, "answer": "cat", "prediction": "cow"},
                {"question_id": 2, "answer": "dog", "error": "timeout"},
            ]
        )
    )
    assert read_predictions(path) == {1: Prediction("cow"), 2: Prediction(None, error="timeout")}
    path.write_text(lines([{"question_id": 1, "answer": "cat", "error": ""}]))
    assert read_predictions(path) == {1: Prediction("cat")}
    path.write_text(lines([{"question_id": 1, "answer": "cat", "pred": "cow"}]))
    with pytest.raises(InputError, match=r":1: it has an answer and a pred: "):
        read_predictions(path)
    path.write_text(lines([{"question_id": 1, "image": "a.png", "question": "?", "answer": "cat"}]))
    with pytest.raises(
        InputError, match=r":1 looks like a row of data, whose answer is the right one: "
    ):
        read_predictions(path)


def test_ids_of_the_column_that_the_predictions_name(tmp_path: Path) -> None:
    rows = [
        Example(1, (), "?", ("cat",), {"question_id": 2}),
        Example(2, (), "?", ("dog",), {"question_id": 1}),
    ]
    path = tmp_path / "p.json"
    path.write_text(
        json.dumps([{"question_id": 2, "answer": "cat"}, {"question_id": 1, "answer": "dog"}])
    )
    assert read_predictions(path, rows) == {1: Prediction("cat"), 2: Prediction("dog")}
    rows[0] = Example(1, (), "?", ("cat",), {"question_id": 7})  # the prediction of 2 is nobody's
    assert read_predictions(path, rows) == {
        "question_id 2": Prediction("cat"),
        2: Prediction("dog"),
    }
    rows = [Example(n, (), "?", ("cat",), {"question_id": f"q{n}"}) for n in (1, 2)]
    assert read_predictions(path, rows) == {2: Prediction("cat"), 1: Prediction("dog")}


def test_captions_by_picture_of_rows_that_are_numbered_by_line(tmp_path: Path) -> None:
    rows = [Example(n, (), "?", ("a",), {"image_id": n % 3 + 1}) for n in (1, 2, 3)]
    path = tmp_path / "p.json"
    path.write_text(json.dumps([{"image_id": n, "caption": f"a cat {n}"} for n in (1, 2, 3)]))
    assert read_predictions(path, rows) == {n: Prediction(f"a cat {n % 3 + 1}") for n in (1, 2, 3)}


def captions(path: Path, *pictures: int | str) -> Path:
    path.write_text(json.dumps([{"image_id": n, "caption": f"picture {n}"} for n in pictures]))
    return path


def test_each_row_of_a_picture_gets_its_caption(tmp_path: Path) -> None:
    path = captions(tmp_path / "p.json", 1, 2, 3)
    data = tmp_path / "rows.jsonl"
    rows = [{"image_id": 1 + n // 2, "image": f"{1 + n // 2}.jpg", "question": "Describe.",
             "answer": f"caption {n}"} for n in range(6)]  # fmt: skip
    data.write_text(lines(rows))
    examples = [*read(data, need_images=False)]
    assert [example.id for example in examples] == [1, 2, 3, 4, 5, 6]
    given = read_predictions(path, examples)
    assert [given[n].text for n in range(1, 7)] == [f"picture {1 + n // 2}" for n in range(6)]
    # ids of annotations are other numbers than those of pictures, though some are the same
    data = tmp_path / "rows.json"
    data.write_text(
        json.dumps(
            [{"id": 100 + n, "image_id": 100 + n // 2, "image": "a.jpg", "caption": "a"}
             for n in range(6)]
        )
    )  # fmt: skip
    examples = [*read(data, need_images=False)]
    given = read_predictions(captions(path, 100, 101, "102", 105), examples)
    assert given.pop("image_id 105") == Prediction("picture 105")
    assert {key: prediction.text for key, prediction in given.items()} == {
        100 + n: f"picture {100 + n // 2}" for n in range(6)
    }


def test_a_caption_answers_no_two_questions_about_its_picture(tmp_path: Path) -> None:
    path = captions(tmp_path / "p.json", 5)
    rows = [Example(n, (), f"What {n}?", ("a",), {"image_id": 5}) for n in (1, 2)]
    message = r"p\.json: .*image_id '?5'?.* rows 1 and 2 .*; write id and prediction"
    with pytest.raises(InputError, match=message) as refused:
        read_predictions(path, rows)
    assert "\n" not in str(refused.value)
    rows[0] = Example(1, (), "What 1?", ("a",), {"image_id": 6})
    assert read_predictions(path, rows) == {2: Prediction("picture 5")}


def test_rows_without_the_column_have_no_prediction_by_it(tmp_path: Path) -> None:
    path = captions(tmp_path / "p.json", 1, 2)
    rows = [Example(n, (), "?", ("a",), {"image_id": 2} if n == 1 else {}) for n in (1, 2, 3)]
    assert read_predictions(path, rows) == {
        "image_id 1": Prediction("picture 1"), 1: Prediction("picture 2"),
    }  # fmt: skip


def test_numbers_of_other_pictures_are_no_ids_of_rows(tmp_path: Path) -> None:
    rows = [Example(n, (), "?", ("a",), {"image_id": n + 7000}) for n in (1, 2, 3)]
    with pytest.raises(InputError, match=r"p\.json: .*image_id 1, .*call that column id"):
        read_predictions(captions(tmp_path / "p.json", 1, 2), rows)


def test_the_columns_of_ids_may_differ_from_row_to_row(tmp_path: Path) -> None:
    rows = [Example(n, (), "?", ("a",), {"question_id": 3 - n}) for n in (1, 2)]
    path = tmp_path / "p.jsonl"
    path.write_text(lines([{"question_id": 1, "answer": "b"}, {"id": 7, "error": "late"}]))
    assert read_predictions(path, rows) == {
        2: Prediction("b"), 7: Prediction(None, error="late"),
    }  # fmt: skip
    path.write_text(lines([{"question_id": 1, "answer": "b"}, {"id": 2, "prediction": "c"}]))
    with pytest.raises(InputError, match="two predictions of the row 2"):
        read_predictions(path, rows)


def test_spaces_around_an_id_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(lines([{"id": " a ", "prediction": "red"}]))
    assert read_predictions(path, [Example("a", (), "?", ("red",))]) == {"a": Prediction("red")}
