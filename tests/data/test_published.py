"""Conversations and addresses of pictures as published data sets have them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.data.written import bad_of, lines, put
from vqa.data import read
from vqa.data.convert import To, convert
from vqa.data.example import EarlierTurn

PNG = b"\x89PNG\r\n\x1a\n"
ASKED = {"role": "user", "content": "What?"}
SEEN = {"type": "image"}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def user(*parts: object) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def assistant(content: object, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def llava(*texts: object, **more: Any) -> dict[str, Any]:
    who = ("human", "gpt")
    turns = [{"from": who[n % 2], "value": value} for n, value in enumerate(texts)]
    return {"conversations": turns, **more}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user(SEEN, text("What?")), assistant([text("cat")])], "images": ["a.png"]},
        {"messages": [user(SEEN, text("What?")), assistant("cat")], "image": "a.png"},
        {"prompt": [user(SEEN, text("What?"))], "completion": [assistant("cat")],
         "images": ["a.png"]},
        {"messages": [user(SEEN | {"image": "a.png"}, text("What?")), assistant("cat")]},
        {"messages": [user(SEEN | {"url": "a.png"}, text("What?")), assistant("cat")]},
        {"messages": [user({"type": "image_url", "image_url": "a.png"}, text("What?")),
                      assistant("cat")]},
        {"messages": [user({"type": "input_image", "image_url": "a.png", "detail": "low"},
                           {"type": "input_text", "text": "What?"}),
                      assistant([{"type": "output_text", "text": "cat"}])]},
        {"messages": [user(SEEN | {"text": None}, text("What?") | {"image": None}),
                      assistant("cat")], "images": ["a.png"], "image": None},
        llava("<image>\nWhat?", "cat", image="a.png"),
        llava("<image>\nWhat?", "cat", image=None, images=["a.png"]),
        {"conversations": [llava("<image>\nWhat?", "cat")["conversations"]], "image": "a.png"},
    ],
)  # fmt: skip
def test_a_picture_and_its_question(tmp_path: Path, row: dict[str, Any]) -> None:
    (example,) = read(put(tmp_path, lines(row)))
    assert example.images == (tmp_path / "a.png",)
    assert (example.question, example.answers, example.extra) == ("What?", ("cat",), {})


def test_pictures_of_parts_in_their_order(tmp_path: Path) -> None:
    own = SEEN | {"image": "own.png"}
    messages = [user(SEEN, text("Same?"), own), assistant("no"), user(text("And?"), SEEN)]
    (row,) = read(
        put(tmp_path, lines({"messages": messages, "images": ["a.png", "b.png"]})),
        need_answers=False,
    )
    assert [Path(image).name for image in row.images] == ["a.png", "own.png", "b.png"]
    assert row.earlier == (EarlierTurn("Same?<image>", "no", 2, places=(5,)),)
    assert (row.question, row.places) == ("And?<image>", (4,))


def test_pictures_without_a_place_and_places_without_one(tmp_path: Path) -> None:
    messages = [user(SEEN, text("What?")), assistant("cat")]
    rows = [
        {"messages": messages, "images": []},
        {"messages": messages, "images": ["a.png", "b.png"]},
    ]
    _, bad = bad_of(put(tmp_path, lines(*rows)))
    assert [row.reason for row in bad] == [
        "1 <image> in the text, but 0 pictures",
        "1 <image> in the text, but 2 pictures",
    ]


def test_bytes_in_messages(tmp_path: Path) -> None:
    data = base64.b64encode(PNG).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    rows = [
        {"messages": [user(SEEN | {"source": source}, text("What?")), assistant("cat")]},
        {"image": f"data:image/png;base64,{data}", "question": "What?", "answer": "cat"},
    ]
    for row in rows:
        (example,) = read(put(tmp_path, lines(row)))
        assert Path(example.images[0]).read_bytes() == PNG
        (named,) = read(tmp_path / "data.txt", need_images=False)
        assert named.images == (str(example.images[0]),)


@pytest.mark.parametrize(("value", "answer"), [(2, "2"), (2.0, "2"), (0.5, "0.5"), (0, "0")])
def test_values_that_are_numbers(tmp_path: Path, value: float, answer: str) -> None:
    row = llava("<image>\nHow many?", value, image="a.png")
    openai = {"messages": [ASKED, assistant(value)]}
    for one in (row, openai):
        (example,) = read(put(tmp_path, lines(one)))
        assert example.answers == (answer,)


@pytest.mark.parametrize("empty", [None, "", []])
def test_conversations_without_a_picture(tmp_path: Path, empty: object) -> None:
    (row,) = read(put(tmp_path, lines(llava("Hi", "Oh", image=empty))))
    assert row.images == () and row.question == "Hi"


@pytest.mark.parametrize("role", ["tool", "function", "function_call", "observation"])
def test_roles_of_tools_are_named(tmp_path: Path, role: str) -> None:
    messages = [ASKED, {"role": role, "content": "{}"}, assistant("cat")]
    _, bad = bad_of(put(tmp_path, lines({"messages": messages})))
    assert bad[0].reason == f"message 2: the role {role!r} is none of system, user, assistant"
    _, bad = bad_of(put(tmp_path, lines({"messages": [assistant("Hello!"), ASKED]})))
    assert bad[0].reason == "message 1 is of assistant, where one of user belongs"


@pytest.mark.parametrize("to", ["jsonl", "csv", "parquet", "llava", "openai"])
def test_a_last_answer_of_weight_0_is_not_learned(tmp_path: Path, to: To) -> None:
    messages = [ASKED, assistant("cat"), ASKED, assistant("dog", weight=0)]
    source = put(tmp_path, lines({"messages": messages}))
    out = tmp_path / f"out.{to}"
    convert(source, out, to)
    for path in (source, out):
        (row,) = read(path)
        assert row.answers == ("dog",) and not row.in_loss and row.earlier[0].in_loss
    llava_row = llava("What?", "cat")
    llava_row["conversations"][1]["weight"] = 0
    _, bad = bad_of(
        put(tmp_path, lines(llava_row, {"messages": [ASKED, assistant("a", weight=0)]}))
    )
    assert [row.reason for row in bad] == [
        "nothing of it is learned: every answer has the weight 0"
    ] * 2
    assert len(list(read(source, need_images=False))) == 2  # to score, both can be asked


ADDRESSES = ["https://example.org/a.png", "http://example.org/a.png", "s3://set/a.png"]


@pytest.mark.parametrize("url", ADDRESSES)
def test_addresses_on_the_network_have_one_reason(tmp_path: Path, url: str) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    flat = {"image": url, "question": "What?", "answer": "cat"}
    pq.write_table(pa.Table.from_pylist([flat]), tmp_path / "flat.parquet")
    pq.write_table(
        pa.Table.from_pylist([flat | {"image": {"bytes": None, "path": url}}]),
        tmp_path / "struct.parquet",
    )
    files = [
        put(tmp_path, lines(flat), "flat.jsonl"),
        put(tmp_path, [flat], "flat.json"),
        put(tmp_path, f"image,question,answer\n{url},What?,cat\n", "flat.csv"),
        put(tmp_path, lines(flat | {"image": [url]}), "list.jsonl"),
        put(tmp_path, lines(llava("<image>\nWhat?", "cat", image=url)), "llava.jsonl"),
        put(tmp_path, lines({"messages": [user({"type": "image_url", "image_url": {"url": url}},
                                               text("What?")), assistant("cat")]}), "openai.jsonl"),
        put(tmp_path, f"image,caption\n{url},A cat.\n", "captions.csv"),
        tmp_path / "flat.parquet",
        tmp_path / "struct.parquet",
    ]  # fmt: skip
    reasons = set()
    for path in files:
        good, bad = bad_of(path)
        assert not good
        reasons |= {row.reason for row in bad}
    assert reasons == {
        f"image {url!r}: pictures are not fetched from the network; download it and give its path"
    }


def test_file_urls_and_windows_paths(tmp_path: Path) -> None:
    put(tmp_path, "", "images/cat.jpg")
    put(tmp_path, "", "odd\\name.jpg")
    names = {
        f"file://{tmp_path}/images/a%20b.png": "images/a b.png",
        f"file:{tmp_path}/images/cat.jpg": "images/cat.jpg",
        "images\\cat.jpg": "images/cat.jpg",
        ".\\images\\cat.jpg": "images/cat.jpg",
        "images\\none.jpg": "images/none.jpg",
        "odd\\name.jpg": "odd\\name.jpg",  # as it stands, where there is such a file
        " images/cat.jpg\t": "images/cat.jpg",
        "a:b.jpg": "a:b.jpg",
    }
    flat = {"question": "What?", "answer": "cat"}
    good, bad = bad_of(put(tmp_path, lines(*({"image": name} | flat for name in names))))
    assert not bad
    assert [row.images for row in good] == [(tmp_path / name,) for name in names.values()]
    refused = ["C:\\set\\cat.jpg", "C:/set/cat.jpg", "..\\cat.jpg", "\\\\host\\set\\cat.jpg",
               "file:///etc/cat.jpg"]  # fmt: skip
    good, bad = bad_of(put(tmp_path, lines(*({"image": name} | flat for name in refused))))
    assert not good
    assert [row.reason for row in bad[:1]] == [
        "image 'C:\\\\set\\\\cat.jpg' is a Windows path with a drive; give the path below "
        f"{tmp_path} instead"
    ]
    assert "Windows path" in bad[1].reason and all("is outside" in row.reason for row in bad[2:])
