"""Every format as its makers write it, known by its content: all files are called `data.txt`."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.data.written import CAT, FLAT, bad_of, lines, put
from vqa.data import read
from vqa.data.example import EarlierTurn, Example
from vqa.data.identity import sha256
from vqa.errors import InputError


def plain(example: Example, root: Path) -> Example:
    """The example with its pictures relative to the root."""
    images = tuple(Path(image).relative_to(root) for image in example.images)
    return Example(example.id, images, example.question, example.answers, example.extra,
                   example.earlier, example.system)  # fmt: skip


def test_json_list(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps([FLAT, [1], FLAT | {"id": 2, "image": [["a.png"]]}], indent=2))
    good, bad = bad_of(path)
    assert [plain(example, tmp_path) for example in good] == [CAT]
    assert [(row.line, row.id) for row in bad] == [(2, None), (3, 2)]
    put(tmp_path, json.dumps([FLAT])[:-1] + ', {"id": 2, "ima')  # torn
    good, bad = bad_of(path)
    assert len(good) == 1 and bad[0].line == 2 and "not JSON" in bad[0].reason


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_table(tmp_path: Path, mark: str) -> None:
    header = mark.join(["ID", "image", " Question", "answer", "Source"])
    rows = [
        mark.join(["7", "a.png", '"Two\nlines?"', "cat", "x"]),
        mark.join(['"""7"""', '"[""a.png"", ""b.png""]"', "What?", '"""[1]"""', ""]),
        mark.join(["1", "a.png", "What?"]),
        mark.join(["007", "a.png", "What?", "", ""]),
    ]
    good, bad = bad_of(put(tmp_path, "\ufeff" + "\r\n".join([header, *rows, ""])))
    first, second = (plain(example, tmp_path) for example in good)
    assert first == Example(7, (Path("a.png"),), "Two\nlines?", ("cat",), {"Source": "x"})
    assert second == Example("7", (Path("a.png"), Path("b.png")), "What?", ("[1]",))
    assert [(row.line, row.id) for row in bad] == [(5, None), (6, "007")]
    assert "3 cells, but 5 columns" in bad[0].reason and "answer" in bad[1].reason
    assert good[1].line == 4


def test_a_table_of_another_encoding_is_one_error(tmp_path: Path) -> None:
    path = put(tmp_path, "")
    path.write_bytes("image,question,answer\na.png,What?,cat\n".encode("utf-16"))
    with pytest.raises(InputError, match="UTF-16"):
        bad_of(path)


def test_an_open_quote_does_not_swallow_the_file(tmp_path: Path) -> None:
    rows = "".join(f"a.png,What {n}?,cat\n" for n in range(9000))
    path = put(tmp_path, 'image,question,answer\na.png,"What?,cat\n' + rows)
    good, bad = bad_of(path)
    assert len(bad) == 1 and bad[0].line == 2 and "quote" in bad[0].reason
    assert len(good) == 9000


def test_columns_of_a_table_come_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="twice"):
        bad_of(put(tmp_path, "image,question,Question\n"))


def llava(*texts: str, image: object = "a.png", **more: Any) -> dict[str, Any]:
    who = ("human", "gpt")
    turns = [{"from": who[n % 2], "value": text} for n, text in enumerate(texts)]
    return {"id": 1, "image": image, "conversations": turns, **more}


@pytest.mark.parametrize("in_lines", [False, True])
def test_llava(tmp_path: Path, in_lines: bool) -> None:
    rows: list[Any] = [
        llava("<image>\nWhat?", "cat", "Why?\n<image>", "so", "Sure?", "yes",
              image=["a.png", "b.png"], model="x"),
        llava("What?", "cat") | {"id": 2},
        llava("<image>\n<image>\nWhat?", "cat") | {"id": 3},
        llava("<image>\nWhat?", "a <image>") | {"id": 4},
        llava("<image>\nWhat?", "cat", "And?") | {"id": 5},
        llava("<image>\nWhat?", "cat", image="../a.png") | {"id": 6},
        {"id": 7, "conversations": llava("Hi", "Oh")["conversations"]},
    ]  # fmt: skip
    good, bad = bad_of(put(tmp_path, lines(*rows) if in_lines else json.dumps(rows)))
    assert plain(good[0], tmp_path) == Example(
        1, (Path("a.png"), Path("b.png")), "Sure?", ("yes",), {"model": "x"},
        (EarlierTurn("What?", "cat", 1), EarlierTurn("Why?\n<image>", "so", 1, places=(5,))),
    )  # fmt: skip
    assert good[1] == Example(7, (), "Hi", ("Oh",))
    reasons = {row.id: row.reason for row in bad}
    assert reasons[2] == "0 <image> in the text, but 1 picture"
    assert reasons[3] == "2 <image> in the text, but 1 picture"
    assert "assistant" in reasons[4] and "answer" in reasons[5] and "is outside" in reasons[6]
    good, bad = bad_of(tmp_path / "data.txt", need_answers=False)
    assert good[1].question == "And?" and good[1].answers == ()


def test_sharegpt(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "system", "content": "Be short."},
                      {"role": "user", "content": "<image>What?"},
                      {"role": "assistant", "content": "cat"}], "images": ["a.png"]},
        {"conversations": [{"role": "user", "content": "Hi"},
                           {"role": "user", "content": "Ho"}], "images": []},
        {"messages": [{"role": "tool", "content": "x"}], "images": []},
    ]  # fmt: skip
    good, bad = bad_of(put(tmp_path, lines(*rows)))
    expected = Example(1, (Path("a.png"),), "What?", ("cat",), system="Be short.")
    assert [plain(example, tmp_path) for example in good] == [expected]
    assert "message 2 is of user" in bad[0].reason and "'tool'" in bad[1].reason


PNG = b"\x89PNG\r\n\x1a\n"


def openai(url: object, text: str = "Is <image> a tag?") -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": url}, {"type": "text", "text": text}]
    answer = {"role": "assistant", "content": [{"type": "text", "text": "cat"}]}
    return {"messages": [{"role": "user", "content": parts}, answer]}


def test_openai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    data = "data:image/png;base64," + base64.b64encode(PNG).decode()
    rows = [
        openai({"url": "a.png"}),
        openai({"url": f"file://{tmp_path}/b%20c.png"}),
        openai({"url": data}),
        openai({"url": "https://example.org/a.png"}),
        openai({"url": "data:image/png;base64,???"}),
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        openai("../a.png"),
    ]
    good, bad = bad_of(put(tmp_path, lines(*rows)))
    assert [e.images[0] for e in good[:2]] == [tmp_path / "a.png", tmp_path / "b c.png"]
    stored = Path(good[2].images[0])
    assert stored.read_bytes() == PNG and stored.is_relative_to(tmp_path / "cache")
    assert good[0].question == "Is <image> a tag?"  # here it is text
    assert [row.line for row in bad] == [4, 5, 6, 7]
    assert "not fetched" in bad[0].reason and "base64" in bad[1].reason


QUESTIONS = {
    "info": {}, "data_subtype": "val2014",
    "questions": [{"question_id": 10, "image_id": 1, "question": "What?"},
                  {"question_id": 20, "image_id": 2, "question": "Why?"},
                  {"question_id": 30, "question": "Why?"}],
}  # fmt: skip


def annotations(subset: str = "val2014") -> dict[str, Any]:
    texts = ["no"] * 2 + ["yes"] * 5 + ["maybe"] * 3
    one = {"question_id": 10, "image_id": 1, "question_type": "what", "answer_type": "yes/no",
           "multiple_choice_answer": "yes", "answers": [{"answer": a, "answer_id": n}
                                                        for n, a in enumerate(texts)]}  # fmt: skip
    return {"annotations": [one], "data_subtype": subset}


def test_vqa_v2(tmp_path: Path) -> None:
    folder = tmp_path / "vqa"
    asked = put(folder, QUESTIONS, "a.json")
    answered = put(folder, annotations(), "b.json")
    put(folder, annotations("train2014"), "c.json")
    put(folder, {"x": 1}, "d.json")
    put(folder, "", "000000000001.jpg")
    for path in (asked, answered, folder):
        good, bad = bad_of(path)
        expected = Example(
            10, (Path("000000000001.jpg"),), "What?",
            ("yes", "no", "no", "yes", "yes", "yes", "yes", "maybe", "maybe", "maybe"),
            {"image_id": 1, "question_type": "what", "answer_type": "yes/no"},
        )  # fmt: skip
        assert [plain(example, folder) for example in good] == [expected]
        assert [(row.line, row.id) for row in bad] == [(2, 20), (3, None)]
    good, _ = bad_of(asked, need_answers=False)
    assert Path(good[1].images[0]).name == "COCO_val2014_000000000002.jpg"
    answered.unlink()
    with pytest.raises(InputError, match="no file with its annotations"):
        bad_of(asked)
    put(folder, QUESTIONS, "e.json")
    with pytest.raises(InputError, match=r"a\.json, e\.json"):
        bad_of(folder)


def test_coco_captions(tmp_path: Path) -> None:
    data = {
        "images": [{"id": 5, "file_name": "a.jpg"}, {"id": 6, "file_name": "b.jpg"}],
        "annotations": [{"image_id": 5, "caption": " A cat. "}, {"image_id": 5, "caption": "Cat"}],
    }
    good, bad = bad_of(put(tmp_path, json.dumps(data, indent=1)))
    (example,) = good
    assert (example.id, example.answers) == (5, ("A cat.", "Cat"))
    assert example.question == "Describe the image."
    assert [(row.line, row.id) for row in bad] == [(2, 6)]


def test_caption_table(tmp_path: Path) -> None:
    text = 'image,caption\na.jpg,A cat .\na.jpg,"A, cat"\nb.jpg,Dog\nb.jpg\n'
    good, bad = bad_of(put(tmp_path, text))
    assert [(e.line, e.answers) for e in good] == [(2, ("A cat .", "A, cat")), (4, ("Dog",))]
    assert [row.line for row in bad] == [5]


def test_daquar(tmp_path: Path) -> None:
    text = "what is on the desk in the image3 ?\nbook, tape_dispenser\nwhat ?\ncat\nin image4 ?"
    put(tmp_path, "", "image3.png")
    good, bad = bad_of(put(tmp_path, text))
    expected = Example(1, (Path("image3.png"),), "What is on the desk?", ("book, tape dispenser",))
    assert [plain(example, tmp_path) for example in good] == [expected]
    assert [row.line for row in bad] == [3, 5]


def test_class_folders(tmp_path: Path) -> None:
    for name in ("sea_horse/b.png", "sea_horse/a.jpg", "cat/a.png", "cat/notes.txt", ".x/a.png"):
        put(tmp_path, "", f"set/{name}")
    good, bad = bad_of(tmp_path / "set")
    assert not bad and [e.id for e in good] == ["cat/a.png", "sea_horse/a.jpg", "sea_horse/b.png"]
    assert good[1].answers == ("sea horse",)
    assert good[1].images == (tmp_path / "set/sea_horse/a.jpg",)
    assert len(list(read(tmp_path / "set", tmp_path))) == 3
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InputError, match="is outside"):
        list(read(tmp_path / "set", tmp_path / "elsewhere"))


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    rows = [
        {"id": 1, "image": {"bytes": PNG, "path": None}, "question": "What?", "answer": "cat"},
        {"id": 2, "image": {"bytes": PNG, "path": "x.png"}, "question": "What?", "answer": "cat"},
        {"id": 3, "image": {"bytes": None, "path": "a.png"}, "question": "What?", "answer": "cat"},
        {"id": 4, "image": None, "question": "What?", "answer": "cat"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.txt")
    names = [e.images for e in read(tmp_path / "data.txt", need_images=False)]
    assert not (tmp_path / "cache").exists()  # for names nothing is written
    good, bad = bad_of(tmp_path / "data.txt")
    assert good[0].images == good[1].images and Path(good[0].images[0]).read_bytes() == PNG
    assert names[0] == tuple(map(str, good[0].images)) and names[3] == ()
    assert good[2].images == (tmp_path / "a.png",)
    assert [(row.line, row.id) for row in bad] == [(4, 4)]
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "cat"}]
    table = pa.Table.from_pylist([{"id": "x", "images": ["a.png"], "conversations": turns}])
    pq.write_table(table, tmp_path / "data.txt")
    assert [e.question for e in read(tmp_path / "data.txt")] == ["What?"]
    (tmp_path / "data.txt").write_bytes((tmp_path / "data.txt").read_bytes()[:100])
    with pytest.raises(InputError, match="damaged Parquet"):
        bad_of(tmp_path / "data.txt")


def test_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    features = datasets.Features(
        {"image": datasets.Image(), "question": datasets.Value("string"),
         "answer": datasets.Value("string")}
    )  # fmt: skip
    rows = {"image": [{"bytes": PNG, "path": None}], "question": ["What?"], "answer": ["cat"]}
    data = datasets.Dataset.from_dict(rows, features=features)
    data.save_to_disk(tmp_path / "one")
    (example,) = read(tmp_path / "one")
    assert example.id == 1 and Path(example.images[0]).read_bytes() == PNG
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "two")
    with pytest.raises(InputError, match="train, test: name one"):
        list(read(tmp_path / "two"))
    assert len(list(read(tmp_path / "two" / "test"))) == 1


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'vqa\[hub\]'"):
        list(read("someone/something"))
    put(tmp_path, "{}", "saved/state.json")
    with pytest.raises(InputError, match=r"pip install 'vqa\[hub\]'"):
        list(read(tmp_path / "saved"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (PNG + b"\0\0\0\rIHDR", "a picture (PNG)"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a picture (JPEG)"),
        (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1", "a picture (AVIF)"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isommp41", "a video"),
        (b"PK\3\4\0\0", "save it as CSV"),
        (b"just\nsome words\n", "text that begins with 'just'"),
        (b'{\n "annotations": [{"bbox": []}]\n}', "a JSON object with annotations"),
        (b'{\n "a": 1\n}', "a JSON object with a"),
        (b"[1, 2]", "text that begins with"),
        (b" \n" * 25 + b"image,question\n", "text that begins with"),
    ],
)
def test_no_known_format(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        bad_of(path)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert "empty" in message or "Accepted: LLaVA JSON" in str(caught.value)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder: no known format"):
        bad_of(tmp_path)
    for name in ("none.jsonl", "no/such.csv", "none"):
        with pytest.raises(InputError, match="no such file"):
            bad_of(tmp_path / name)


def test_all_bad_rows_of_a_conversation_file_at_once(tmp_path: Path) -> None:
    path = put(tmp_path, [llava("What?", "cat") | {"id": n} for n in range(12)])
    with pytest.raises(InputError, match="and 2 more bad rows"):
        list(read(path))


def test_identity(tmp_path: Path) -> None:
    path = put(tmp_path, lines(FLAT))
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    asked = put(tmp_path, QUESTIONS, "vqa/a.json")
    before = sha256(asked)
    put(tmp_path, annotations(), "vqa/b.json")
    both = sha256(asked)  # what is learned from it stands in the other file
    assert both not in (before, sha256(tmp_path)) and sha256(tmp_path / "vqa/b.json") == both
    folder = sha256(tmp_path)
    put(tmp_path, lines(FLAT | {"id": 2}))
    assert sha256(tmp_path) != folder
