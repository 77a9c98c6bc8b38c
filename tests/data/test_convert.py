"""What is written in one format is read back equal, whatever the rows hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqa.data import read
from vqa.data.convert import To, convert, format_of_name
from vqa.data.example import Example, Turn
from vqa.data.formats.flat_json import write
from vqa.errors import InputError

FORMATS: tuple[To, ...] = ("jsonl", "csv", "parquet", "llava", "openai")
ENDINGS = {"llava": ".json", "openai": ".jsonl"}

characters = st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")
texts = st.text(characters, min_size=1, max_size=12).filter(
    lambda text: bool(text.strip()) and "<image>" not in text
)
names = st.sampled_from(["a.png", "b/c d.jpg", "ü,;.png", "[x].png", 'quo"te.png'])
columns = st.sampled_from(["task", "source", "Größe", "a,b"])


@st.composite
def rows(draw: st.DrawFn) -> Example:
    """A row as any format can hold it; its id is set later."""
    images = draw(st.lists(names, max_size=3))
    earlier = []
    left = len(images)
    for _ in range(draw(st.integers(0, 2))):
        pictures = draw(st.integers(0, left))
        left -= pictures
        earlier.append(Turn(draw(texts), draw(texts), pictures, draw(st.booleans())))
    return Example(
        0,
        tuple(images),
        draw(texts),
        tuple(draw(st.lists(texts, min_size=1, max_size=3))),
        draw(st.dictionaries(columns, texts.filter(lambda text: text[0] not in "[{"), max_size=2)),
        tuple(earlier),
        draw(st.just("") | texts),
    )


ids = st.lists(texts | st.just("7"), unique=True) | st.lists(
    st.integers(-(2**62), 2**62), unique=True
)


@pytest.mark.parametrize("to", FORMATS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(keys=ids, data=st.data())
def test_round_trip(tmp_path: Path, to: To, keys: list[Any], data: st.DataObject) -> None:
    found = [data.draw(rows()) for _ in keys]
    given_rows = [
        Example(k, r.images, r.question, r.answers, r.extra, r.earlier, r.system)
        for k, r in zip(keys, found, strict=True)
    ]
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
        example.id, example.question, example.answers, example.extra, example.earlier,
        example.system,
    )  # fmt: skip


def _rows(path: Path, *found: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


GOOD = {"id": 1, "image": "a.png", "question": "What?", "answer": "cat"}


def test_other_kinds_of_columns(tmp_path: Path) -> None:
    extra = {"choices": ["a", "b"], "n": 3, "share": 0.5, "yes": True, "box": {"x": 1}, "mixed": 1}
    source = _rows(tmp_path / "in.jsonl", GOOD | extra, GOOD | {"id": 2, "mixed": "x"})
    convert(source, tmp_path / "out.parquet", "parquet")
    first, second = read(tmp_path / "out.parquet")
    assert first.extra == extra | {"box": '{"x": 1}', "mixed": "1"}  # what Parquet has no type for
    assert second.extra == {"mixed": "x"}
    convert(source, tmp_path / "out.csv", "csv")
    first, _ = read(tmp_path / "out.csv")
    assert first.extra["choices"] == ["a", "b"] and first.extra["box"] == {"x": 1}
    assert first.extra["n"] == "3" and first.extra["yes"] == "true"  # all else is text there


def test_absolute_names_below_a_root_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    source = _rows(tmp_path / "real" / "in.jsonl", GOOD | {"image": str(tmp_path / "real/a.png")})
    for root in (tmp_path / "link", tmp_path / "real" / ".." / "real"):
        convert(source, tmp_path / "out.jsonl", "jsonl", root)
        assert json.loads((tmp_path / "out.jsonl").read_text())["image"] == "a.png"


def test_bad_rows_end_it_or_are_left_out(tmp_path: Path) -> None:
    marked = GOOD | {"id": 3, "question": "Is <image> a tag?"}
    source = _rows(tmp_path / "in.jsonl", GOOD, GOOD | {"id": 2, "question": ""}, marked)
    out = tmp_path / "out.json"
    found = convert(source, out, "llava")
    assert [(row.line, row.id) for row in found.bad] == [(2, 2), (3, 3)] and not found.written
    assert not out.exists()
    found = convert(source, out, "llava", skip_bad=True)
    assert found.written and found.rows == 1
    assert [example.id for example in read(out)] == [1]


def test_pictures_of_a_data_file_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    url = "data:image/png;base64,iVBORw0KGgo="
    said = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}},
                                     {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "cat"},
    ]  # fmt: skip
    source = _rows(tmp_path / "in.jsonl", {"messages": said})
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
    with pytest.raises(InputError, match="--to"):
        format_of_name(Path("x.txt"))
    source = _rows(tmp_path / "in.jsonl", GOOD)
    with pytest.raises(InputError, match="name another"):
        convert(source, source, "jsonl")
