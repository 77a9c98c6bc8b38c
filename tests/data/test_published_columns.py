"""Tables of published data sets, with the columns that they really have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.written import bad_of, lines, put
from vqa.data import read
from vqa.data.convert import To, convert
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.metrics import get_metric
from vqa.metrics.metric import Item

PNG = b"\x89PNG\r\n\x1a\n"
POLL = ["no"] * 2 + ["yes"] * 5 + ["maybe"] * 3
OBJECTS = [
    {"answer": answer, "answer_confidence": "yes", "answer_id": n + 1}
    for n, answer in enumerate(POLL)
]
ORDERED = ("yes", "no", "no", "yes", "yes", "yes", "yes", "maybe", "maybe", "maybe")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))


def parquet(folder: Path, *rows: dict[str, Any]) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "data.parquet")
    return folder / "data.parquet"


def only(path: Path, **more: Any) -> Example:
    (row,) = read(path, **more)
    return row


def vqa_v2(**more: Any) -> dict[str, Any]:
    return {
        "question_type": "is there", "multiple_choice_answer": "yes", "answers": OBJECTS,
        "image_id": 262148, "answer_type": "yes/no", "question_id": 262148000,
        "question": "Is there a cat?", "image": {"bytes": PNG, "path": None},
    } | more  # fmt: skip


def test_vqa_v2_of_the_hub(tmp_path: Path) -> None:
    row = only(parquet(tmp_path, vqa_v2()))
    assert row.id == 262148000 and row.answers == ORDERED
    assert Path(row.images[0]).read_bytes() == PNG
    assert row.extra == {"question_type": "is there", "answer_type": "yes/no", "image_id": 262148}
    test = parquet(tmp_path, vqa_v2(answers=None, multiple_choice_answer=None))
    assert only(test, need_answers=False).answers == ()
    lists = {name: [answer[name] for answer in OBJECTS] for name in OBJECTS[0]}
    for answers in (lists, json.dumps(OBJECTS), str(OBJECTS)):
        plain = vqa_v2(image="a.jpg", answers=answers)
        if isinstance(answers, str):
            frame = "image,question,question_id,multiple_choice_answer,answers\n"
            cell = answers.replace('"', '""')
            path = put(tmp_path, f'{frame}a.jpg,What?,7,yes,"{cell}"\n')
        else:
            path = put(tmp_path, lines(plain))
        assert only(path).answers == ORDERED


@pytest.mark.parametrize("named", [None, "maybe", "none of them"])
def test_the_commonest_answer_is_first(tmp_path: Path, named: str | None) -> None:
    row = only(put(tmp_path, [vqa_v2(image="a.jpg", multiple_choice_answer=named)]))
    assert row.answers[0] == "yes" and sorted(row.answers) == sorted(POLL)


@pytest.mark.parametrize(
    "nobody",
    [[""] * 10, ["", None], [], "", {"answer": [""] * 10}, [{"answer": ""}, {"answer": None}]],
)
def test_answers_that_nobody_gave(tmp_path: Path, nobody: object) -> None:
    asked = {"image": "a.jpg", "question": "Which brand?"}
    path = put(tmp_path, lines(asked | {"answers": nobody}))
    assert only(path, need_answers=False).answers == ()
    good, bad = bad_of(path)
    assert not good and [row.reason for row in bad] == ["answer is missing or empty"]


def test_empty_answers_among_others(tmp_path: Path) -> None:
    asked = {"image": "a.jpg", "question": "Which color?"}
    path = put(tmp_path, lines(asked | {"answers": ["", "red", " ", None, "red"]}))
    assert only(path).answers == ("red", "red")
    polled = [{"answer": answer} for answer in ("", "", "", "red", "blue", "red")]
    path = put(tmp_path, lines(asked | {"answers": polled}))
    assert only(path).answers == ("red", "blue", "red")


def test_vizwiz(tmp_path: Path) -> None:
    answers = [{"answer": "unanswerable", "answer_confidence": "yes"}] * 3
    answers += [{"answer": "soda", "answer_confidence": "maybe"}] * 7
    row = {"image": "VizWiz_val_00000000.jpg", "question": "What is it?", "answers": answers,
           "answer_type": "other", "answerable": 1}  # fmt: skip
    example = only(put(tmp_path, [row]))
    assert example.answers == ("soda", *["unanswerable"] * 3, *["soda"] * 6)
    assert example.extra == {"answer_type": "other", "answerable": 1}


SCIENCE = {
    "question": "Which is heavier?", "choices": ["a feather", "a stone"], "answer": 1, "hint": "",
    "image": {"bytes": PNG, "path": "image.png"}, "task": "closed choice", "grade": "grade2",
}  # fmt: skip


def test_science_qa(tmp_path: Path) -> None:
    counts = SCIENCE | {"choices": ["2", "1", "0"], "answer": 0}
    rows = [counts, SCIENCE, SCIENCE | {"answer": 0}, SCIENCE | {"answer": 2}]
    good, bad = bad_of(parquet(tmp_path, *rows))
    assert [row.answers for row in good] == [("2",), ("a stone",), ("a feather",)]
    assert good[1].extra["choices"] == ["a feather", "a stone"] and "hint" not in good[1].extra
    assert [row.reason for row in bad] == [
        "the answer 2 is none of the 2 choices, nor the number of one (from 0)"
    ]
    score = get_metric("multiple_choice").of([Item("B", good[1].answers, extra=good[1].extra)])
    assert score == {"score": 1.0}


def test_numbers_of_choices_from_every_file(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"image": ["a.png", "b.png", "c.png"], "question": ["What?"] * 3, "id": [1, 2, 3],
         "choices": [["red", "dark red"], ["1", "2"], ["x", "y"]], "answer": [1.0, 0.0, None]}
    )  # fmt: skip
    frame.to_csv(tmp_path / "a.csv")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    pd.read_parquet(tmp_path / "a.parquet").to_csv(tmp_path / "b.csv")
    for name in ("a.csv", "a.jsonl", "a.parquet", "b.csv"):
        got = list(read(tmp_path / name, need_answers=False))
        assert [row.answers for row in got] == [("dark red",), ("1",), ()], name
        assert got[1].extra == {"choices": ["1", "2"]}, name


def test_numbers_that_are_choices_themselves(tmp_path: Path) -> None:
    flat = {"image": "a.png", "question": "How many?"}
    rows = [flat | {"choices": [2, 4, 6], "answer": 4}, flat | {"choices": ["1", "2"], "answer": 1},
            flat | {"choices": ["1", "2"], "answer": "2"}]  # fmt: skip
    assert [row.answers for row in read(put(tmp_path, rows))] == [("4",), ("1",), ("2",)]
    path = put(tmp_path, "image,question,choices,answer\na.png,How many?,\"['2', '4']\",4\n")
    assert only(path).answers == ("4",)


def test_a_okvqa(tmp_path: Path) -> None:
    row = {
        "split": "val",
        "image_id": 299207,
        "question_id": "22MexNkBPpdZGX6sxbxVBH",
        "question": "What is he doing?",
        "choices": ["run", "sit", "eat", "fly"],
        "correct_choice_idx": 3,
        "direct_answers": ["fly", "flying"],
        "rationales": ["He is."],
    }
    put(tmp_path, "", "val2017/000000299207.jpg")
    example = only(put(tmp_path, [row]))
    assert example.id == "22MexNkBPpdZGX6sxbxVBH" and example.answers == ("fly",)
    assert example.images == (tmp_path / "val2017/000000299207.jpg",)
    assert example.extra["direct_answers"] == ["fly", "flying"]
    assert "correct_choice_idx" not in example.extra
    row.pop("choices")
    row.pop("correct_choice_idx")
    assert only(put(tmp_path, [row])).answers == ("fly", "flying")


def test_mmbench(tmp_path: Path) -> None:
    header = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\n"
    path = put(tmp_path, f"{header}241\tWhich one?\tLook.\tred\t2\tdark red\t\tC\tcolor\ta.jpg\n")
    row = only(path)
    assert row.answers == ("dark red",)
    assert row.extra == {"index": 241, "hint": "Look.", "category": "color",
                         "choices": ["red", "2", "dark red"]}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "more", "expected"),
    [
        ("B", {}, "a dog"),
        ("(b)", {}, "a dog"),
        ("B.", {}, "a dog"),
        ("D", {}, "D"),  # of no choice
        ("a cat", {}, "a cat"),
        ("B", {"choices": ["A", "B"]}, "B"),
        ("B", {"choices": ["yes", "yes"]}, "B"),
        ("B", {"question": "What?\nA. a cat\nB. a dog"}, "B"),  # the model sees its letters
        ("B", {"question": "What? (A) a cat (B) a dog"}, "B"),
        ("B", {"choices": None, "options": "['a cat', 'a dog']"}, "a dog"),
        ("B", {"choices": None, "options": {"A": "a cat", "B": "a dog"}}, "a dog"),
        ("B", {"choices": {"text": ["a cat", "a dog"], "label": ["A", "B"]}}, "a dog"),
        ("B", {"choices": None}, "B"),
    ],
)
def test_letters_of_choices(
    tmp_path: Path, answer: str, more: dict[str, Any], expected: str
) -> None:
    row = {"image": "a.png", "question": "What?", "choices": ["a cat", "a dog"], "answer": answer}
    example = only(put(tmp_path, [row | more]))
    assert example.answers == (expected,) and "options" not in example.extra


def test_text_vqa(tmp_path: Path) -> None:
    row = {"question": "Which brand?", "image_id": "0054c91397f2fe05", "image_classes": ["Clock"],
           "flickr_original_url": "https://example.org/x.jpg", "image_width": 1024,
           "answers": ["nokia", "nokia lumia", "nokia lumia"], "question_id": 0}  # fmt: skip
    put(tmp_path, "", "train_images/0054c91397f2fe05.jpg")
    for data in (json.dumps([row, row | {"question_id": 1}, [1]]), json.dumps([row])):
        head = '{"dataset_type": "train", "dataset_name": "textvqa", "dataset_version": "0.5.1", '
        good, bad = bad_of(put(tmp_path, f'{head}"data": {data}}}'))
        assert [row.id for row in good] == [0, 1][: len(good)]
        assert good[0].answers == ("nokia lumia", "nokia", "nokia lumia")
        assert good[0].images == (tmp_path / "train_images/0054c91397f2fe05.jpg",)
        assert good[0].extra["flickr_original_url"] == "https://example.org/x.jpg"
        assert [row.line for row in bad] == [3] * len(bad)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("count", [1, 3])
def test_gqa(tmp_path: Path, indent: int | None, count: int) -> None:
    one = {"semantic": [{"operation": "select", "dependencies": []}], "imageId": "2354786",
           "question": "Is it red?", "answer": "yes", "fullAnswer": "Yes, it is.",
           "types": {"detailed": "verify"}, "isBalanced": True}  # fmt: skip
    put(tmp_path, "", "images/2354786.jpg")
    text = json.dumps({f"0{n}": one for n in range(count)}, indent=indent)
    rows = list(read(put(tmp_path, text)))
    assert [row.id for row in rows] == [f"0{n}" for n in range(count)]
    assert rows[0].images == (tmp_path / "images/2354786.jpg",) and rows[0].answers == ("yes",)
    assert rows[0].extra["fullAnswer"] == "Yes, it is." and rows[0].extra["isBalanced"] is True


def test_problems_of_science_qa(tmp_path: Path) -> None:
    one = SCIENCE | {"image": "image.png", "split": "train"}
    put(tmp_path, "", "train/3/image.png")
    good, bad = bad_of(put(tmp_path, {"3": one, "4": one | {"image": None}}))
    assert [(row.id, row.answers) for row in good] == [("3", ("a stone",))]
    assert good[0].images == (tmp_path / "train/3/image.png",)
    assert [(row.line, row.id) for row in bad] == [(2, "4")] and "image" in bad[0].reason


def test_ok_vqa(tmp_path: Path) -> None:
    asked = {"task_type": "Open-Ended", "data_subtype": "val2014",
             "questions": [{"image_id": 1, "question": "What?", "question_id": 10}]}  # fmt: skip
    answers = [{"answer_id": n, "raw_answer": f"{text}s", "answer_confidence": "yes",
                "answer": text} for n, text in enumerate(POLL)]  # fmt: skip
    put(tmp_path, asked, "vqa/questions.json")
    file = {"annotations": [{"image_id": 1, "question_id": 10, "answers": answers,
                             "answer_type": "other", "question_type": "four"}],
            "data_subtype": "val2014"}  # fmt: skip
    put(tmp_path, file, "vqa/annotations.json")
    assert only(tmp_path / "vqa").answers == ORDERED


def test_prompts_and_completions(tmp_path: Path) -> None:
    row = {"images": ["a.png"], "prompt": "What?", "completion": " cat"}
    assert only(put(tmp_path, lines(row))).answers == ("cat",)
    example = only(put(tmp_path, "image,prompt,completion\na.png,What?,cat\n"))
    assert (example.question, example.answers) == ("What?", ("cat",))


def test_tables_written_by_column_say_so(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"image": ["a.png"], "question": ["What?"], "answer": ["cat"]})
    for orient in ("columns", "split"):
        frame.to_json(tmp_path / "data.json", orient=orient)
        with pytest.raises(InputError, match="orient='records'"):
            bad_of(tmp_path / "data.json")


@pytest.mark.parametrize("to", ["jsonl", "csv", "parquet", "llava", "openai"])
def test_published_rows_are_written_and_read_again(tmp_path: Path, to: To) -> None:
    rows = [vqa_v2(image="a.jpg"), SCIENCE | {"image": "b.jpg", "id": 8}]
    source = put(tmp_path, rows)
    out = tmp_path / f"out.{to}"
    convert(source, out, to)
    assert list(read(out)) == list(read(source))


@pytest.mark.parametrize("column", ["caption", "captions"])
@pytest.mark.parametrize("captions", [["A dog runs.", "A dog."], "A dog runs."])
def test_captions_without_a_question(column: str, captions: object, tmp_path: Path) -> None:
    row = only(parquet(tmp_path, {"image": {"bytes": PNG, "path": None}, column: captions}))
    assert row.question == "Describe the image." and row.answers[0] == "A dog runs."
    asked = {"image": "a.png", column: captions, "question": "What?", "answer": "a dog"}
    row = only(put(tmp_path, lines(asked)), need_images=False)
    assert row.answers == ("a dog",) and row.extra[column] == captions


def test_numbered_pictures(tmp_path: Path) -> None:
    pictures = {f"image_{n}": {"bytes": PNG + bytes([n]), "path": None} for n in (2, 1, 3)}
    row = only(parquet(tmp_path, {"question": "<image 2>?", "answer": "x", **pictures}))
    assert [Path(image).read_bytes()[-1] for image in row.images] == [1, 2, 3]
    asked = {"question": "?", "answer": "x", "image": "a.png", "image_1": "other"}
    row = only(put(tmp_path, lines(asked)), need_images=False)
    assert row.images == ("a.png",) and row.extra == {"image_1": "other"}


def test_nan_as_text_beside_lettered_choices(tmp_path: Path) -> None:
    columns = {"question": "?", "answer": "B", "A": "one", "B": "two", "C": "nan", "D": "nan"}
    row = only(put(tmp_path, lines(columns | {"hint": "nan"})), need_images=False)
    assert row.extra == {"choices": ["one", "two"]} and row.answers == ("two",)
    plain = {"question": "?", "answer": "nan", "choices": ["inf", "nan"], "hint": "nan"}
    row = only(put(tmp_path, lines(plain)), need_images=False)
    assert row.answers == ("nan",) and row.extra["hint"] == "nan"
