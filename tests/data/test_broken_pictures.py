"""Rows whose picture is missing or broken, where data is converted and split."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.run import vqa_here
from tests.data.broken import write_all
from tests.data.written import lines, put
from vqa.data import read
from vqa.data.convert import convert, format_of_name
from vqa.data.split import split

Capture = pytest.CaptureFixture[str]


def row(key: object, image: object = "red.png", **more: Any) -> dict[str, Any]:
    return {"id": key, "image": image, "question": "What?", "answer": "cat"} | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for color in ("red", "green", "blue"):
        Image.new("RGB", (8, 8), color).save(tmp_path / f"{color}.png")
    return tmp_path


@pytest.mark.parametrize("name", ["out.jsonl", "out.json", "out.csv", "out.parquet"])
def test_convert_leaves_out_and_counts_rows_of_broken_pictures(folder: Path, name: str) -> None:
    broken = write_all(folder)
    rows = [row("a"), *(row(image, image) for image in broken), row("b", "green.png")]
    rows += [row("both", ["red.png", broken[0]]), row("again", broken[0]), row("no", answer="")]
    path = put(folder, lines(*rows, {"id": "bad", "image": "red.png"}), "d.jsonl")
    whole = convert(path, folder / name, format_of_name(Path(name)), skip_bad=True)
    assert whole.rows == 3 and whole.left_out == len(broken) + 3
    reasons = {one.line: one.reason for one in whole.bad}
    assert sorted(reasons) == [*range(2, 2 + len(broken)), len(rows) + 1]
    assert "3 rows name it" in reasons[2] and "question" in reasons[len(rows) + 1]
    written = [example.id for example in read(folder / name, folder, need_answers=False)]
    assert written == ["a", "b", "no"]


def test_convert_of_pictures_inside_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    urls = ["data:image/png;base64," + base64.b64encode(data).decode()
            for data in (file.getvalue(), file.getvalue()[:40], b"")]  # fmt: skip
    rows = [row(n, {"bytes": None, "path": url}) for n, url in enumerate(urls)]
    path = put(tmp_path, lines(*rows), "d.jsonl")
    done = convert(path, tmp_path / "out.jsonl", "jsonl", skip_bad=True)
    assert done.rows <= 1 and done.rows + done.left_out == 3


def test_nothing_is_written_where_all_rows_are_bad(folder: Path, capsys: Capture) -> None:
    path = put(folder, lines(*(row(n, "gone.png") for n in range(5))), "d.jsonl")
    out = folder / "out.jsonl"
    done = vqa_here(capsys, "data", "convert", path, out, "--skip-bad")
    assert done.returncode == 2 and not out.exists()
    first, last = done.stderr.splitlines()
    assert "d.jsonl:1: " in first and "5 rows name it" in first
    assert last == "vqa: 5 bad rows: nothing is written; correct or remove them"
    done = vqa_here(capsys, "data", "split", path, folder / "parts", "--skip-bad")
    assert done.returncode == 2 and not (folder / "parts").exists()


def test_split_tells_all_broken_pictures_at_once(folder: Path, capsys: Capture) -> None:
    broken = write_all(folder)
    images = [*broken, "red.png", "green.png", "blue.png", broken[0]]
    path = put(folder, lines(*(row(n, image) for n, image in enumerate(images))), "d.jsonl")
    done = vqa_here(capsys, "data", "split", path, folder / "parts")
    assert done.returncode == 2 and not (folder / "parts").exists()
    messages = done.stderr.splitlines()
    assert len(messages) == len(broken) + 1
    assert all(f"d.jsonl:{n}: " in line for n, line in enumerate(messages[:-1], start=1))
    assert f"{len(broken) + 1} bad rows: nothing is written" in messages[-1]
    assert "--skip-bad" in messages[-1]
    done = vqa_here(capsys, "data", "split", path, folder / "parts", "--skip-bad", "--share", "0.4")
    assert done.returncode == 0 and f"{len(broken) + 1} bad rows left out" in done.stdout
    sides = [
        [json.loads(line)["image"] for line in (folder / "parts" / name).open()]
        for name in ("train.jsonl", "test.jsonl")
    ]
    assert sorted(sides[0] + sides[1]) == ["blue.png", "green.png", "red.png"] and all(sides)


def test_a_row_that_is_left_out_does_not_tie_pictures_together(folder: Path) -> None:
    rows = [row(1), row(2, "green.png"), row(3, ["red.png", "green.png", "gone.png"])]
    path = put(folder, lines(*rows), "d.jsonl")
    done = split(path, folder / "parts", 0.5, skip_bad=True)
    assert done.train == (1, 1) and done.test == (1, 1) and done.left_out == 1


def test_many_bad_rows_are_not_all_told(folder: Path, capsys: Capture) -> None:
    path = put(folder, lines(*(row(n, f"{n}.png") for n in range(300)), row("x")), "d.jsonl")
    done = vqa_here(capsys, "data", "convert", path, folder / "out.csv", "--skip-bad")
    assert done.returncode == 0 and "1 row, 300 bad rows left out" in done.stdout
    assert len(done.stderr.splitlines()) == 101 and "and 200 more" in done.stderr
