"""The benchmarks of reading: what they score, and that a long one goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from benchmarks import orders, reading
from tests import tiny


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """Two signs, one of them with a smaller line besides, and a picture without text."""
    rows = []
    for name, kind, lines in (
        ("stop", "sign", [("STOP", 90)]),
        ("market", "sign", [("MARKET", 90), ("open until 6 pm", 24)]),
        ("nothing", "no text", []),
    ):
        picture = Image.new("RGB", (640, 400), "white")
        draw = ImageDraw.Draw(picture)
        for number, (words, letters) in enumerate(lines):
            place, font = (60, 80 + 150 * number), ImageFont.load_default(letters)
            draw.text(place, words, font=font, fill="black")
        picture.save(tmp_path / f"{name}.png")
        answer = lines[0][0] if lines else "nothing"
        rows.append({"id": name, "image": f"{name}.png", "question": "What does the sign say?",
                     "answers": [answer], "kind": kind})  # fmt: skip
    path = tmp_path / "signs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_model_and_reader_are_scored_by_kind(
    signs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(tiny.llava_1_5(tmp_path / "model"))
    out = tmp_path / "out"
    for _ in range(2):  # the second run takes the answers of the first
        reading.main(
            signs, signs.parent, out, model=model, adapter=None, mode="auto", rows=None,
            max_new_tokens=4,
        )  # fmt: skip
        scores = json.loads((out / "scores.json").read_text())
        assert set(scores) == {f"{way}.{name}" for way in reading.WAYS for name in reading.METRICS}
        alone = scores["reader.exact_match"]
        assert alone["slices"]["sign"]["value"] == 1
        assert alone["slices"]["no text"]["value"] == 0
        shown = capsys.readouterr().out
        assert "no text" in shown and "s a picture" in shown
    answers = [json.loads(line) for line in (out / "read.jsonl").read_text().splitlines()]
    assert [row["id"] for row in answers] == ["stop", "market", "nothing"]


def test_orders_in_pictures_are_counted(
    signs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(tiny.llava_1_5(tmp_path / "model"))
    out = tmp_path / "orders.json"
    orders.main(signs, signs.parent, out, model=model, adapter=None, photos=2, question="How many?")
    rows = json.loads(out.read_text())["rows"]
    assert [row["photo"] for row in rows] == ["stop.png", "market.png"]
    assert all(row["order_was_read"] and row["control_was_read"] for row in rows)
    changed = sum(row["order"] != row["control"] for row in rows)
    dictated = sum("banana" in row["order"].lower() for row in rows)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"of 2 answers {changed} changed, {dictated} as the picture ordered"
    with pytest.raises(SystemExit, match=r"3 photos, fewer than 20"):
        orders.main(
            signs, signs.parent, out, model=model, adapter=None, photos=20, question="How many?"
        )
