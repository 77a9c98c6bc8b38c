"""What is written in one format is read back equal, whatever the rows hold."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vqa.data import read
from vqa.data.cell_values import trim
from vqa.data.convert import To, convert, format_of_name
from vqa.data.example import EarlierTurn, Example
from vqa.data.formats.flat_json import write
from vqa.errors import InputError
from vqa.inputs.placeholders import join_with_pictures

FORMATS: tuple[To, ...] = ("jsonl", "csv", "parquet", "llava", "openai")
ENDINGS = {"llava": ".json", "openai": ".jsonl"}

# texts that a table would take for something else
LOOKS_LIKE = ["2.0", "7", "True", "nan", "None", "[1]", '"2.0"', '"', "{}", "-inf", '""', "<NA>",
              "=1+1", '"=1"', "-x", "@"]  # fmt: skip
characters = st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")
texts = (
    (st.text(characters, max_size=12) | st.sampled_from(LOOKS_LIKE))
    .map(trim)
    .filter(lambda text: bool(text) and "<image>" not in text)
)
values = texts | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(
    allow_nan=False, allow_infinity=False
) | st.lists(texts | st.integers(-9, 9), max_size=3)  # fmt: skip
names = st.sampled_from(["a.png", "b/c d.jpg", "ü,;.png", "[x].png", 'quo"te.png'])
columns = st.sampled_from(["task", "source", "Größe", "a,b"])


@st.composite
def questions(draw: st.DrawFn, pictures: int) -> tuple[str, tuple[int, ...]]:
    """A text, and where some of its pictures stand in it: behind words, or they stood before."""
    placed = draw(st.integers(0, pictures))
    return join_with_pictures(
        [draw(texts), *draw(st.lists(st.just("") | texts, min_size=placed, max_size=placed))]
    )


@st.composite
def rows(draw: st.DrawFn) -> Example:
    """A row as any format can hold it; its id is set later."""
    images = draw(st.lists(names, max_size=3))
    earlier = []
    left = len(images)
    for _ in range(draw(st.integers(0, 2))):
        pictures = draw(st.integers(0, left))
        left -= pictures
        asked, places = draw(questions(pictures))
        earlier.append(EarlierTurn(asked, draw(texts), pictures, draw(st.booleans()), places))
    question, places = draw(questions(left))
    return Example(
        0,
        tuple(images),
        question,
        tuple(draw(st.lists(texts, min_size=1, max_size=3))),
        draw(st.dictionaries(columns, values, max_size=2)),
        tuple(earlier),
        draw(st.just("") | texts),
        places=places,
    )


ids = st.lists(texts, unique=True) | st.lists(st.integers(-(2**62), 2**62), unique=True)


@pytest.mark.parametrize("to", FORMATS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(keys=ids, data=st.data())
def test_round_trip(tmp_path: Path, to: To, keys: list[Any], data: st.DataObject) -> None:
    drawn = [data.draw(rows()) for _ in keys]
    given_rows = [replace(row, id=key) for key, row in zip(keys, drawn, strict=True)]
    if not given_rows:
        return
    write(tmp_path / "in.jsonl", given_rows)
    out = tmp_path / f"out{ENDINGS.get(to, '.' + to)}"
    done = convert(tmp_path / "in.jsonl", out, to)
    assert done.written and not done.bad
    back = list(read(out))
    assert [e.images for e in back] == [tuple(tmp_path / i for i in e.images) for e in given_rows]
    assert [_without_images(e) for e in back] == [_without_images(e) for e in given_rows]
    convert(out, tmp_path / "again.jsonl", "jsonl")
    assert list(read(tmp_path / "again.jsonl")) == back


def _without_images(example: Example) -> tuple[Any, ...]:
    return (
        example.id, example.question, example.answers, _typed(example.extra), example.earlier,
        example.system, example.places,
    )  # fmt: skip


def _rows(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


GOOD = {"id": 1, "image": "a.png", "question": "What?", "answer": "cat"}


@pytest.mark.parametrize("to", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", ["system", "learned"])
def test_our_columns_may_mean_something_else(tmp_path: Path, to: To, name: str) -> None:
    ours = {"system": "Be brief.", "learned": False}[name]
    earlier = [{"question": "So?", "answer": "Yes."}]
    for others in ([7, 8], [["a"], ours], [7, ours], [ours, None]):
        given = [GOOD | {"id": n, name: v, "earlier": earlier} for n, v in enumerate(others)]
        path = _rows(tmp_path / "in.jsonl", *given)
        assert not convert(path, tmp_path / f"out.{to}", to).bad
        assert list(read(tmp_path / f"out.{to}")) == list(read(path))


def test_other_kinds_of_columns(tmp_path: Path) -> None:
    extra = {
        "choices": ["a", "b"],
        "n": 3,
        "share": 0.5,
        "yes": True,
        "box": {"x": 1},
        "mixed": 1,
        "whole": 2.0,
        "code": "007",
        "digits": "3",
        "word": "None",
        "point": [1, 2.5],
    }
    source = _rows(tmp_path / "in.jsonl", GOOD | extra,
                   GOOD | {"id": 2, "mixed": "x"}, GOOD | {"id": 3, "mixed": "1"})  # fmt: skip
    for to in FORMATS:
        out = tmp_path / f"out{ENDINGS.get(to, '.' + to)}"
        convert(source, out, to)
        first, second, third = read(out)
        assert _typed(first.extra) == _typed(extra)
        assert second.extra == {"mixed": "x"} and third.extra == {"mixed": "1"}


def _typed(extra: dict[str, Any]) -> dict[str, Any]:
    return {name: (type(value), value) for name, value in extra.items()}


def test_absolute_names_below_a_root_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    source = _rows(tmp_path / "real" / "in.jsonl", GOOD | {"image": str(tmp_path / "real/a.png")})
    for root in (tmp_path / "link", tmp_path / "real" / ".." / "real"):
        convert(source, tmp_path / "out.jsonl", "jsonl", root)
        assert json.loads((tmp_path / "out.jsonl").read_text())["image"] == "a.png"


def test_bad_rows_end_it_or_are_left_out(tmp_path: Path) -> None:
    marked = GOOD | {"id": 3, "question": "Is <image> a tag?"}
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    source = _rows(tmp_path / "in.jsonl", GOOD, GOOD | {"id": 2, "question": ""}, marked)
    out = tmp_path / "out.json"
    converted = convert(source, out, "llava")
    assert [(row.line, row.id) for row in converted.bad] == [
        (2, 2),
        (3, 3),
    ] and not converted.written
    assert not out.exists()
    converted = convert(source, out, "llava", skip_bad=True)
    assert converted.written and converted.rows == 1
    assert [example.id for example in read(out)] == [1]


def test_pictures_of_a_data_file_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    url = "data:image/png;base64,iVBORw0KGgo="
    messages = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}},
                                     {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "cat"},
    ]  # fmt: skip
    source = _rows(tmp_path / "in.jsonl", {"messages": messages})
    convert(source, tmp_path / "out.parquet", "parquet")
    convert(tmp_path / "out.parquet", tmp_path / "flat.jsonl", "jsonl")
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "another"))
    (inside,) = read(tmp_path / "out.parquet")
    (beside,) = read(tmp_path / "flat.jsonl")
    assert Path(beside.images[0]).parent == tmp_path / "flat-pictures"
    for image in (inside.images[0], beside.images[0]):
        assert Path(image).read_bytes() == b"\x89PNG\r\n\x1a\n"


def test_what_to_write(tmp_path: Path) -> None:
    assert format_of_name(Path("x.JSON")) == "llava"
    with pytest.raises(InputError, match="`to` jsonl"):
        format_of_name(Path("x.txt"))
    source = _rows(tmp_path / "in.jsonl", GOOD)
    with pytest.raises(InputError, match="name another"):
        convert(source, source, "jsonl")


def test_a_table_runs_no_formula_and_is_read_as_it_was(tmp_path: Path) -> None:
    texts = ["=1+1", "+x", "-a.png", "@b", "\tx", "\rx", '"=1+1"', "-", "-5", "plain"]
    row = {"id": 1, "image": "-a.png", "question": "?", "answer": -5, "=note": "@x", "n": -0.5}
    rows = [row | {"id": n, "question": f"{t}?", "answer": t} for n, t in enumerate(texts)]
    rows.append(row | {"id": "=9"})
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    convert(path, tmp_path / "out.csv", "csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    begun = {cell for cell in cells if cell[:1] in tuple("=+-@\t\r")}
    assert begun == {"-0.5"}  # a number
    again = [replace(one, line=0) for one in read(tmp_path / "out.csv")]
    assert again == [replace(one, line=0) for one in read(path)]
