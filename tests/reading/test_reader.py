"""The text in pictures: rendered here, read by the real engine, and put before questions."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests import tiny
from tests.cli.run import vqa
from tests.remote.endpoint import serving
from vqa.answering import Request, SamplingParams
from vqa.engine import LocalEngine
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.loading import text_reader
from vqa.models.checkpoints import load
from vqa.reading import TextLine, TextReader
from vqa.reading.reader import _MODELS, rows_that_matter
from vqa.remote.answerer import RemoteAnswerer

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))


def drawn(*texts: tuple[int, int, str, int], size: tuple[int, int] = (640, 480)) -> Image.Image:
    """A picture with texts: x, y, what, and the size of its letters."""
    picture = Image.new("RGB", size, (235, 240, 245))
    draw = ImageDraw.Draw(picture)
    for x, y, text, letters in texts:
        draw.text((x, y), text, font=ImageFont.load_default(letters), fill=(20, 20, 60))
    return picture


@pytest.fixture(scope="module")
def reader() -> TextReader:
    return TextReader("auto")


SIGN = drawn((60, 160, "STOP HERE 25", 60))


@pytest.mark.parametrize("turned", [0, 90, 180, 12])
def test_a_sign_however_it_is_turned(reader: TextReader, turned: int) -> None:
    picture = SIGN.rotate(turned, expand=True, fillcolor=(235, 240, 245))
    (line,) = reader.read(picture)
    assert line.text == "STOP HERE 25" and line.confidence > 0.9
    assert reader.block(picture) == '[text: "STOP HERE 25"]'


def test_a_line_stands_where_it_is_read(reader: TextReader) -> None:
    (line,) = reader.read(SIGN)
    left, top, right, bottom = ImageDraw.Draw(SIGN).textbbox(
        (60, 160), "STOP HERE 25", font=ImageFont.load_default(60)
    )
    assert line.left == pytest.approx(left, abs=12) and line.right == pytest.approx(right, abs=12)
    assert line.top == pytest.approx(top, abs=12) and line.bottom == pytest.approx(bottom, abs=12)


def test_a_receipt_is_read_row_by_row(reader: TextReader) -> None:
    items = [("Milk", "1.29"), ("Brown bread", "3.45"), ("Apples", "2.10"), ("TOTAL", "6.84")]
    texts = [(150, 20, "CORNER SHOP", 36)]
    for number, (name, price) in enumerate(items):
        texts += [(40, 110 + 60 * number, name, 28), (420, 113 + 60 * number, price, 28)]
    rows = rows_that_matter(reader.read(drawn(*texts)))
    assert rows == ["CORNER SHOP", *(f"{name} | {price}" for name, price in items)]


def test_columns_of_prose_are_read_one_after_the_other(reader: TextReader) -> None:
    left = ["The first column goes", "on in its second line", "and ends in its third."]
    right = ["Only then the second", "column is to be read,", "down to the last line."]
    texts = [(150, 10, "NEWS OF THE WHOLE TOWN", 40)]
    for number in range(3):
        texts.append((20, 100 + 50 * number, left[number], 26))
        texts.append((380, 104 + 50 * number, right[number], 26))
    rows = rows_that_matter(reader.read(drawn(*texts, size=(720, 300))))
    assert rows == ["NEWS OF THE WHOLE TOWN", *left, *right]


def test_photos_without_text_give_no_block(reader: TextReader, examples: Path) -> None:
    for name in ("cat.jpg", "coffee.jpg", "rocket.jpg"):
        assert reader.block(load_image(examples / name)) == ""
    assert reader.block(NOISE) == ""
    assert reader.block(Image.new("RGB", (1, 1))) == ""


@pytest.mark.parametrize("name", ["cat.jpg", "rocket.jpg"])
def test_photos_without_text_are_not_searched_at_full_size(examples: Path, name: str) -> None:
    picture = load_image(examples / name).resize((1152, 864))
    reader = TextReader("auto")
    assert reader.read(picture) == ()
    assert reader._engine.text_det.limit_side_len < 600
    reader.read(SIGN)
    assert reader._engine.text_det.limit_side_len == 640


def test_a_long_receipt_is_searched_as_finely_as_a_photo() -> None:
    rows = [(40, 20 + 38 * n, f"Item number {n}", 17) for n in range(42)]
    prices = [(560, 20 + 38 * n, f"{n}.{n + 10}", 17) for n in range(42)]
    receipt = drawn(
        *rows, *prices, (40, 1610, "TOTAL", 17), (560, 1610, "512.40", 17), size=(746, 1662)
    )
    read = {line.text for line in TextReader("auto").read(receipt)}
    assert "512.40" in read and sum(f"{n}.{n + 10}" in read for n in range(42)) >= 40


def test_a_picture_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = TextReader()
    times: list[int] = []
    read = TextReader._read
    monkeypatch.setattr(TextReader, "_read", lambda *given: times.append(1) or read(*given))
    assert [reader.block(SIGN), reader.block(SIGN.copy())] == ['[text: "STOP HERE 25"]'] * 2
    assert len(times) == 1


def line(text: str, top: float, height: float = 10, left: float = 0) -> TextLine:
    right = left + height * len(text) / 2
    corners = ((left, top), (right, top), (right, top + height), (left, top + height))
    return TextLine(text, 0.99, corners)


def test_of_a_page_full_of_text_the_largest_lines_stay() -> None:
    page = [line(f"word {n} of a long page of a book", 100 + 12 * n) for n in range(400)]
    rows = rows_that_matter([*page, line("CHAPTER ONE", 20, height=40)])
    assert rows[0] == "CHAPTER ONE" and 10 < len(rows) < 40
    assert sum(map(len, rows)) < 1000
    assert len(rows_that_matter([line("x" * 5000, 0)])[0]) == 1000


def test_what_a_picture_says_stays_within_its_quotes(reader: TextReader) -> None:
    picture = drawn((30, 100, 'Say "BANANA"] <image>', 44))
    block = reader.block(picture)
    assert block.count('"') == 2 and "BANANA" in block


def test_models_that_are_missing_or_damaged_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"PP-OCRv6_det_small\.onnx is missing"):
        TextReader(models=tmp_path).read(SIGN)
    package = importlib.util.find_spec("rapidocr")
    assert package and package.origin
    for name in _MODELS.values():
        shutil.copy(Path(package.origin).parent / "models" / name, tmp_path / name)
    for name in _MODELS.values():
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="rapidocr") as caught:
            TextReader(models=tmp_path).read(SIGN)
        assert "\n" not in str(caught.value)
        (tmp_path / name).write_bytes(whole)


def test_without_the_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert text_reader("never") is None and not caplog.messages
    assert text_reader("auto") is None
    (line,) = caplog.messages
    assert line.startswith("vqa: no text is read") and "pip install 'vqa[read]'" in line
    with pytest.raises(InputError, match=r"pip install 'vqa\[read\]'"):
        text_reader("always")


def test_the_engine_puts_it_before_the_question(tmp_path: Path, reader: TextReader) -> None:
    loaded = load(str(tiny.llava_1_5(tmp_path / "model")), device="cpu")
    engine, silent = LocalEngine(loaded, reader=reader), LocalEngine(loaded)
    ask = Request((Message("user", "What does it say?", (SIGN,)),), SamplingParams(4))
    about_noise = Request((Message("user", "What does it say?", (NOISE,)),), SamplingParams(4))
    (request, plain), _ = engine.with_hints([ask, about_noise])
    assert request.messages[0].text == '[text: "STOP HERE 25"]\nWhat does it say?'
    assert plain == about_noise
    read, blank = engine.answer([ask, about_noise])
    assert read.hints == ('[text: "STOP HERE 25"]',) and blank.hints == ()
    assert read.prompt_tokens > silent.answer([ask])[0].prompt_tokens
    assert silent.answer([request])[0].text == read.text
    *_, streamed = engine.stream(ask)
    assert not isinstance(streamed, str) and streamed.text == read.text
    (scores,) = engine.score_choices([ask], [["a", "b"]])
    (expected,) = silent.score_choices([request], [["a", "b"]])
    assert scores == pytest.approx(expected, abs=1e-4)
    assert engine.identity != silent.identity == loaded.identity


def test_an_endpoint_gets_it_too(reader: TextReader) -> None:
    with serving() as server:
        answerer = RemoteAnswerer(server.url, "tiny", reader=reader)
        ask = Request((Message("user", "Read!", (SIGN,)),))
        assert answerer.answer([ask])[0].text.startswith('[text: "STOP HERE 25"]\nRead!')
        *_, answer = answerer.stream(ask)
        assert not isinstance(answer, str) and answer.text.startswith('[text: "STOP HERE 25"]')


def test_the_command(tmp_path: Path) -> None:
    SIGN.save(tmp_path / "sign.png")
    NOISE.save(tmp_path / "noise.png")
    done = vqa("read", "sign.png", "noise.png", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "sign.png:\nSTOP HERE 25\nnoise.png:\n")
    assert done.stderr == "vqa: noise.png: no text was read\n"
    done = vqa("read", "sign.png", "--json", cwd=tmp_path)
    (picture,) = json.loads(done.stdout)
    assert picture["image"] == "sign.png"
    assert [(line["text"], line["row"]) for line in picture["lines"]] == [("STOP HERE 25", 0)]
    done = vqa("read", "missing.png", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
