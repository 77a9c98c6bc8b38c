"""`<image>` in the middle of a text: which picture stands where, in all formats that have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.written import bad_of, lines, put
from vqa.data import read
from vqa.data.convert import To, convert
from vqa.data.example import EarlierTurn, Example
from vqa.data.formats.messages import placed
from vqa.inputs.placeholders import PLACEHOLDER

SAME = "Is <image> the same as <image>?"


def llava(*texts: str, images: int, **more: Any) -> dict[str, Any]:
    turns = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]
    return {"id": 1, "image": [f"{n}.png" for n in range(images)], "conversations": turns, **more}


def sharegpt(*texts: str, images: int) -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]
    return {"id": 1, "images": [f"{n}.png" for n in range(images)], "messages": turns}


def openai(*parts: str | None, answer: str = "yes") -> dict[str, Any]:
    """A question of parts, None for a picture."""
    numbers = iter(range(len(parts)))
    content = [
        {"type": "image_url", "image_url": {"url": f"{next(numbers)}.png"}}
        if part is None
        else {"type": "text", "text": part}
        for part in parts
    ]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    return {"id": 1, "messages": messages}


def only(folder: Path, row: dict[str, Any]) -> Example:
    (example,) = read(put(folder, lines(row)))
    return example


@pytest.mark.parametrize("form", [llava, sharegpt])
@pytest.mark.parametrize(
    ("text", "question", "places"),
    [
        (SAME, SAME, (3, 23)),
        ("What is this?\n<image>", "What is this?\n<image>", (14,)),
        ("<image>\nWhat is this?", "What is this?", ()),
        ("<image>\nIs it <image>?", "Is it <image>?", (6,)),
        ("<image><image>\nIs it <image>?", "Is it <image>?", (6,)),
        ("Is it<image><image>or<image>", "Is it<image><image>or<image>", (5, 12, 21)),
        ("这是<image>还是<image>?", "这是<image>还是<image>?", (2, 11)),
        ("a\n\n<image>\n\nb", "a\n\n<image>\n\nb", (3,)),
    ],
)
def test_a_picture_stands_where_the_text_has_it(
    tmp_path: Path, form: Any, text: str, question: str, places: tuple[int, ...]
) -> None:
    count = text.count(PLACEHOLDER)
    row = only(tmp_path, form(text, "yes", images=count))
    assert (row.question, row.places, len(row.images)) == (question, places, count)


@pytest.mark.parametrize(
    ("parts", "question", "places"),
    [
        (("Is ", None, " the same as ", None, "?"), SAME, (3, 23)),
        (("What is this?", None), "What is this?<image>", (13,)),
        ((None, "What is this?"), "What is this?", ()),
        ((None, "a", "b"), "a\nb", ()),  # as ever
        ((None, "\n", None, "What?"), "What?", ()),
        ((None, "a", "b", None, "c", "d"), "a\nb<image>c\nd", (3,)),
        (("Is <image> a tag in ", None, "?"), "Is <image> a tag in <image>?", (20,)),
        (("a", None, None), "a<image><image>", (1, 8)),
    ],
)
def test_parts_of_openai_keep_their_order(
    tmp_path: Path, parts: Any, question: str, places: tuple[int, ...]
) -> None:
    row = only(tmp_path, openai(*parts))
    assert (row.question, row.places, len(row.images)) == (question, places, parts.count(None))


def test_parts_of_trl_take_the_rows_next_picture_where_they_stand(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "Is "}, {"type": "image"},
        {"type": "text", "text": " the same as "}, {"type": "image"}, {"type": "text", "text": "?"},
    ]  # fmt: skip
    asked = [{"role": "user", "content": parts}]
    answer = [{"role": "assistant", "content": [{"type": "text", "text": "no"}]}]
    row = only(tmp_path, {"images": ["b.png", "a.png"], "prompt": asked, "completion": answer})
    assert (row.question, row.places) == (SAME, (3, 23))
    assert [Path(image).name for image in row.images] == ["b.png", "a.png"]


def test_turns_have_their_own_places(tmp_path: Path) -> None:
    texts = (SAME, "no", "And <image>?", "yes", "<image>\nThis?", "no", "Sure?", "yes")
    row = only(tmp_path, llava(*texts, images=4))
    assert row.earlier == (
        EarlierTurn(SAME, "no", 2, places=(3, 23)),
        EarlierTurn("And <image>?", "yes", 1, places=(4,)),
        EarlierTurn("This?", "no", 1),
    )
    assert (row.question, row.places) == ("Sure?", ())


def test_what_does_not_fit_is_a_bad_row(tmp_path: Path) -> None:
    rows = [
        llava(SAME, "yes", images=1),
        llava("Is <image> red?", "yes", images=2),
        llava("Is <image> red?", "a <image>", images=2),
        llava("What? <image>", "yes", "<image>", "no", images=2),
    ]
    good, bad = bad_of(put(tmp_path, json.dumps([row | {"id": n} for n, row in enumerate(rows)])))
    assert not good
    assert [row.reason for row in bad] == [
        "2 <image> in the text, but 1 picture",
        "1 <image> in the text, but 2 pictures",
        "message 2: <image> stands in a text of assistant",
        "question is missing or empty",
    ]


@given(st.text(), st.lists(st.sampled_from(["<image>", "<image>\n", "<image> "])))
def test_pictures_before_a_text_leave_it_as_it_is(text: str, before: list[str]) -> None:
    if PLACEHOLDER not in text and text.strip() and not text[0].isspace():
        assert placed("".join(before) + text) == (text, ())


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("\n<image>\nWhat?", "\n\nWhat?"),
        (" <image> What?", " What?"),
        ("<image>\n\n<image>What?", "\nWhat?"),
        ("<image>\n\nWhat?", "\nWhat?"),
        ("<image>  What?", " What?"),
    ],
)
def test_white_space_is_no_word_that_a_picture_could_stand_behind(text: str, question: str) -> None:
    assert placed(text) == (question, ())


FLAT = {"id": 1, "image": ["a.png", "b.png"], "question": SAME, "answer": "yes"}


def test_in_a_flat_file_the_places_say_which_are_pictures(tmp_path: Path) -> None:
    assert only(tmp_path, FLAT).places == ()  # text, as ever
    assert only(tmp_path, FLAT | {"image_places": None}).places == ()
    assert only(tmp_path, FLAT | {"image_places": []}).places == ()
    assert only(tmp_path, FLAT | {"image_places": [23]}).places == (23,)
    row = only(tmp_path, FLAT | {"image_places": [3, 23]})
    assert row.places == (3, 23) and not row.extra
    path = put(tmp_path, "image,question,answer,image_places\na.png,Is <image> red?,yes,[3]\n")
    (row,) = read(path)
    assert row.places == (3,)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"image_places": [4, 23]}, "no <image> begins at character 4"),
        ({"image_places": [23, 3]}, "no <image> begins at character 3"),
        ({"image_places": [3, 3]}, "no <image> begins at character 3"),
        ({"image_places": [-28]}, "no <image> begins at character -28"),
        ({"image_places": [True]}, "list of whole numbers"),
        ({"image_places": "3"}, "list of whole numbers"),
        ({"image_places": [3, 23], "image": "a.png"}, "2 image_places, but the question has 1"),
        ({"image_places": [0], "question": "<image>"}, "question is missing or empty"),
        (
            {
                "earlier": [
                    {"question": SAME, "answer": "a", "pictures": 1, "image_places": [3, 23]}
                ]
            },
            "2 image_places in an earlier turn with 1 pictures",
        ),
    ],
)
def test_places_that_fit_no_picture_are_bad_rows(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    good, bad = bad_of(put(tmp_path, lines(FLAT | changed)))
    assert not good and says in bad[0].reason


ALL: tuple[To, ...] = ("jsonl", "csv", "parquet", "llava", "openai")


@pytest.mark.parametrize("through", ALL)
def test_llava_comes_back_the_same_through_any_format(tmp_path: Path, through: To) -> None:
    texts = ("What is <image>?\n<image>", "x", "<image>\n<image>\nIs it like <image>？", "y")
    source = put(tmp_path, [llava(*texts, images=5), llava("<image>\nA?", "b", images=1, id=2)])
    convert(source, tmp_path / "between", through)
    convert(tmp_path / "between", tmp_path / "back.json", "llava")
    back = json.loads((tmp_path / "back.json").read_text())
    assert [turn["value"] for turn in back[0]["conversations"]] == list(texts)
    assert back[1]["conversations"][0]["value"] == "<image>\nA?"


def test_openai_gets_parts_in_their_order(tmp_path: Path) -> None:
    source = put(tmp_path, [llava("<image>\n" + SAME, "no", images=3)])
    convert(source, tmp_path / "out.jsonl", "openai")
    row = json.loads((tmp_path / "out.jsonl").read_text())
    parts = row["messages"][0]["content"]
    assert [part.get("text") or part["image_url"]["url"] for part in parts] == [
        "0.png", "Is ", "1.png", " the same as ", "2.png", "?",
    ]  # fmt: skip


def test_a_typed_placeholder_beside_a_placed_one_is_refused_by_llava_alone(tmp_path: Path) -> None:
    source = put(tmp_path, lines(openai("Is <image> a tag in ", None, "?")))
    assert "takes for a picture" in convert(source, tmp_path / "out.json", "llava").bad[0].reason
    for to in ALL:
        if to != "llava":
            assert convert(source, tmp_path / f"out-{to}", to).written
            (row,) = read(tmp_path / f"out-{to}")
            assert (row.question, row.places) == ("Is <image> a tag in <image>?", (20,))


def test_rows_without_places_are_written_as_ever(tmp_path: Path) -> None:
    import pyarrow.parquet

    flat = FLAT | {"earlier": [{"question": "Hm?", "answer": "a", "pictures": 1}]}
    source = put(tmp_path, lines(flat))
    convert(source, tmp_path / "out.jsonl", "jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == flat
    convert(source, tmp_path / "out.parquet", "parquet")
    schema = pyarrow.parquet.read_schema(tmp_path / "out.parquet")
    assert schema.names == ["id", "images", "question", "answers", "earlier", "system"]
    assert "image_places" not in str(schema)
