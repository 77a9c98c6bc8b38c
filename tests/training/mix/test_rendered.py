"""The set `text`: pages whose facts stand on them, drawn, read, and asked about."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.mix.picture import Label, Picture
from training.mix.questions.wording import Question
from training.mix.rendered.camera import photographed
from training.mix.rendered.fonts import families
from training.mix.rendered.held_out import Draw
from training.mix.rendered.page import Page, Row, draw_page
from training.mix.rendered.pages import label, screen, shop_sign, sign, street_sign, table
from training.mix.rendered.pictures import text_rows
from training.mix.rendered.receipts import receipt
from training.mix.tables import document
from vqa.data.example import Example
from vqa.inputs.hints import text_block
from vqa.inputs.images import load_image
from vqa.reading import LineStore, TextReader

MAKERS = [receipt, sign, street_sign, shop_sign, label, table, screen]


def text_of(page: Page) -> str:
    return "\n".join(" ".join(row.cells) for row in page.rows)


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
@pytest.mark.parametrize("held_out", [False, True])
def test_what_is_asked_stands_on_the_page(maker: Callable[[Draw], Page], held_out: bool) -> None:
    for number in range(60):
        page = maker(Draw(random.Random(number), held_out))
        written = text_of(page)
        assert page.facts
        for fact in page.facts:
            assert fact.about in document("written")["questions"]
            assert fact.answer in (written, *written.split("\n")) or fact.answer in " ".join(
                written.split()
            ), (fact, written)
            assert all(value.casefold() in written.casefold() for value in fact.fields.values())


def test_sums_of_receipts_are_right() -> None:
    layouts: Counter[int] = Counter()
    for number in range(200):
        page = receipt(Draw(random.Random(number), False))
        facts = {fact.about: fact.answer for fact in page.facts}
        cells = [row.cells for row in page.rows]
        (total,) = [
            row for row in cells if row[-1].endswith(facts["total"]) and _names(row[0])
        ] or [()]
        assert total, cells
        if "change" in facts:
            rest = [row for row in cells if row[-1].endswith(facts["change"])]
            assert rest
        layouts[max(map(len, cells))] += 1
    assert len(layouts) > 1


def _names(text: str) -> bool:
    return text in document("written")["total_names"]


def test_nothing_held_out_is_trained_on() -> None:
    train, check = Draw(random.Random(0), False), Draw(random.Random(0), True)
    for name in document("written"):
        words = document("written")[name]
        if isinstance(words, list):
            assert not set(train.side(words)) & set(check.side(words)) or len(words) < 2, name
            assert train.side(words) and check.side(words), name
    fonts = families()
    assert not set(train.side(fonts)) & set(check.side(fonts))
    assert all(path.is_file() for family in fonts for path in family)


def test_wide_text_gets_smaller_letters_and_stays_on_the_page() -> None:
    font = families()[0][0]
    page = Page("sign", (Row(("W" * 50,)), Row(("left " * 9, "right " * 9))), (), width=400)
    picture = np.asarray(draw_page(page, font))
    assert (picture[:, :15] == page.paper).all() and (picture[:, -15:] == page.paper).all()
    assert (picture != page.paper).any()


def test_long_receipts_stay_long_and_others_fit_a_phone() -> None:
    sizes = []
    for number in range(16):
        rng = random.Random(number)
        page = receipt(Draw(rng, False))
        picture = draw_page(page, families()[0][0])
        sizes.append(photographed(picture, Image.new("RGB", (8, 8)), rng).size)
    long = [height for width, height in sizes if height > 1.9 * width]
    assert len(long) > 3 and max(map(max, sizes)) <= 1900 and min(map(max, sizes)) >= 400


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[Question]:
    """Questions about photos without text."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    questions = []
    for number in range(6):
        small = rng.integers(60, 200, (6, 8, 3), dtype=np.uint8)
        path = root / f"{number}.jpg"
        Image.fromarray(small).resize((320, 240), Image.BICUBIC).save(path)
        picture = Picture(path, "photos", label=Label("cat", "cat", "animal"))
        questions.append(
            Question(picture, "How many cats are there?", (str(number), "n"), "counts")
        )
        questions.append(Question(picture, "What is this?", ("cat",), "names"))
        questions.append(Question(picture, "Describe it.", ("A cat sleeps.",), "captions"))
    return questions


@pytest.fixture(scope="module")
def made(asked: list[Question], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    out = tmp_path_factory.mktemp("out")
    reader = TextReader(store=LineStore(out / "text.sqlite"))
    train = list(text_rows(18, asked, out, reader, "0", held_out=False))
    check = list(text_rows(6, asked, out, reader, "0", held_out=True))
    return out, train, check


def test_rows_have_what_was_read(made: tuple[Path, Any, Any]) -> None:
    out, train, check = made
    assert len({row["id"] for row in (*train, *check)}) == len(train) + len(check) > 25
    assert not {row["image"] for row in train} & {row["image"] for row in check}
    for row in train:
        picture = load_image(out / row["image"])
        assert max(picture.size) > 300
        assert (row["task"], row["source"]) == ("text", "text")
    row = next(row for row in train if row["hint_text"])
    block = TextReader().block(load_image(out / row["image"]))
    assert text_block(row["hint_text"]) == block
    assert {"no text", "is there text: no", "receipt total"} <= {row["kind"] for row in train}


def test_in_training_only_what_was_read_is_asked_for(made: tuple[Path, Any, Any]) -> None:
    _, train, _ = made
    copied = [row for row in train if row["kind"].startswith(("receipt", "sign", "label"))]
    assert len(copied) > 5
    for row in copied:
        read = "".join(filter(str.isalnum, "".join(row["hint_text"]).casefold()))
        asked_for = row["answers"][0].casefold()
        assert "".join(filter(str.isalnum, asked_for)) in read
    nothing = [row for row in train if row["kind"] == "no text"]
    assert nothing and all(not row["hint_text"] for row in nothing)
    assert {row["answers"][0] for row in nothing} == {"There is no text."}


def test_text_over_a_photo_changes_no_answer(made: tuple[Path, Any, Any]) -> None:
    _, train, check = made
    own = [row for row in (*train, *check) if row["kind"].startswith("photo with")]
    assert own
    for row in own:
        expected = {"What is this?": ["cat"]}.get(row["question"])
        assert row["answers"] == expected or row["answers"][1:] == ["n"]
    orders = [row for row in (*train, *check) if row["kind"] == "photo with order"]
    assert orders and any(row["hint_text"] for row in orders)


def test_another_run_makes_the_same_and_reads_nothing(
    made: tuple[Path, Any, Any], asked: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, train, _ = made
    monkeypatch.setattr(TextReader, "_read", lambda *given: pytest.fail("it is read again"))
    reader = TextReader(store=LineStore(out / "text.sqlite"))
    assert list(text_rows(18, asked, out, reader, "0", held_out=False)) == train


def test_rows_are_those_of_the_answering_path(made: tuple[Path, Any, Any]) -> None:
    from training.sft.hints import blocks_before

    out, train, _ = made
    row = next(row for row in train if row["hint_text"])
    example = Example(
        "1", (str(out / row["image"]),), "What?", ("a",), {"hint_text": row["hint_text"]}
    )
    assert blocks_before(example, None) == [text_block(row["hint_text"])]
    assert blocks_before(replace(example, extra={}), None) == [""]
