"""`vqa data convert`, `check` and `preview` on a tiny random model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import tiny
from tests.cli.run import refused, vqa_here

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_interleave(tmp_path_factory.mktemp("model"))


def put(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


GOOD = {"id": "x", "image": "red.png", "question": "What?", "answer": "a cat"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    Image.new("RGB", (20, 30), "red").save(tmp_path / "red.png")
    earlier = [{"question": "Who?", "answer": "me", "pictures": 1}]
    second = {"id": 7, "image": ["red.png"] * 3, "question": "And?", "answers": ["no", "nope"]}
    return put(tmp_path / "data.jsonl", GOOD, second | {"earlier": earlier})


def test_convert(data: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.csv"
    done = vqa_here(capsys, "data", "convert", data, out)
    assert done.returncode == 0 and done.stdout == f"{out}: 2 rows\n"
    elsewhere = tmp_path / "new" / "out.json"
    done = vqa_here(capsys, "data", "convert", out, elsewhere)
    assert done.returncode == 0 and f"below {tmp_path}" in done.stdout
    assert [row["id"] for row in json.loads(elsewhere.read_text())] == ["x", 7]
    with data.open("a") as file:
        file.write('{"id": 3, "image": "red.png"}\n')
    done = vqa_here(capsys, "data", "convert", data, tmp_path / "bad.csv")
    assert done.returncode == 2 and not (tmp_path / "bad.csv").exists()
    assert done.stderr.splitlines()[0] == f"vqa: {data}:3: question is missing or empty"
    assert "--skip-bad" in done.stderr.splitlines()[1]
    done = vqa_here(capsys, "data", "convert", data, tmp_path / "bad.csv", "--skip-bad")
    assert done.returncode == 0 and "1 bad row left out" in done.stdout


def test_check(data: Path, tmp_path: Path, model: Path, capsys: Capture) -> None:
    done = vqa_here(capsys, "data", "check", data, "--model", model)
    assert done.returncode == 0, done
    for text in ("2 good rows about 1 picture", "No problems.", "Tokens of a row", "a cat"):
        assert text in done.stdout
    assert "rows a second" in done.stdout
    done = vqa_here(capsys, "data", "check", data, "--model", model, "--json")
    output = json.loads(done.stdout)
    speed = output["training"]
    assert speed["rows_per_second"] == pytest.approx(2 / (speed["hours"] * 3600))
    assert 0 < speed["hours_for_features"] < 1 / 60
    assert (output["rows"], output["pictures"], output["problems"]) == (2, 1, [])
    assert output["tokens"]["images"] == 4 * 4 and output["tokens"]["learned"] > 0
    other = put(tmp_path / "val.jsonl", GOOD, GOOD | {"id": "y", "image": "none.png"})
    done = vqa_here(
        capsys, "data", "check", data, "--model", model, "--validation", other, "--json"
    )
    assert json.loads(done.stdout)["training"] is None  # nothing that is refused is tried
    assert done.returncode == 2
    problems = {(p["file"], p["line"]): p["reason"] for p in json.loads(done.stdout)["problems"]}
    assert "no such file" in problems[str(other), 2]
    assert "which is trained on" in problems[str(other), 1]


def test_check_stands_where_training_cannot_be_tried(
    data: Path, tmp_path: Path, model: Path, capsys: Capture
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(model, bare)
    (bare / "model.safetensors").unlink()
    done = vqa_here(capsys, "data", "check", data, "--model", bare)
    assert done.returncode == 0 and "No problems." in done.stdout
    assert "cannot run here" in done.stderr


def test_split(tmp_path: Path, model: Path, capsys: Capture) -> None:
    folder = tmp_path / "pictures"
    for n in range(40):
        (folder / f"kind {n % 2}").mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (9, 9), (n // 2, 0, 0))  # each is there twice
        picture.save(folder / f"kind {n % 2}" / f"{n}.png")
    out = tmp_path / "halves"
    done = vqa_here(capsys, "data", "split", folder, out, "--share", "0.3")
    assert done.returncode == 0, done
    sides = {}
    for name in ("train", "test"):
        rows = [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
        sides[name] = {(folder / row["image"]).read_bytes() for row in rows}
        line = f"{out / name}.jsonl: {len(rows)} rows about {len(sides[name])} pictures"
        assert line in done.stdout and len(rows) == 2 * len(sides[name])
    assert len(sides["train"]) + len(sides["test"]) == 20 and 2 <= len(sides["test"]) <= 10
    assert not sides["train"] & sides["test"]
    done = vqa_here(
        capsys, "data", "check", out / "train.jsonl", "--images", folder, "--no-time",
        "--validation", out / "test.jsonl", "--model", model,
    )  # fmt: skip
    assert done.returncode == 0, done
    again = vqa_here(capsys, "data", "split", out / "train.jsonl", out, "--images", folder)
    assert "is there already" in refused(again)  # or it would be read while it is written over
    only = put(tmp_path / "one.jsonl", GOOD)
    Image.new("RGB", (9, 9)).save(tmp_path / "red.png")
    done = vqa_here(capsys, "data", "split", only, tmp_path / "x")
    assert "its rows show one picture" in refused(done)
    bad = put(tmp_path / "bad.jsonl", GOOD, {"id": 2, "image": "red.png", "question": "?"})
    done = vqa_here(capsys, "data", "split", bad, tmp_path / "x")
    assert done.returncode == 2 and f"{bad}:2: " in done.stderr and not (tmp_path / "x").exists()


def test_preview(data: Path, tmp_path: Path, model: Path, capsys: Capture) -> None:
    done = vqa_here(capsys, "data", "preview", data, "--model", model)
    assert done.returncode == 0, done
    assert "<image> x 4" in done.stdout and "\x1b" not in done.stdout
    learned = [line for line in done.stdout.splitlines() if line.startswith("learned  '")]
    assert len(learned) == 1 and "<|im_end|>" in learned[0]
    out = tmp_path / "joined.png"
    done = vqa_here(capsys, "data", "preview", data, "--model", model, "--row", "7", "--out", out)
    assert done.returncode == 0, done
    assert sum(line.startswith("learned  '") for line in done.stdout.splitlines()) == 2
    with Image.open(out) as picture:
        assert picture.size == (90, 30) and picture.getpixel((5, 5)) == (255, 0, 0)
    by_number = vqa_here(capsys, "data", "preview", data, "--model", model, "--row", "2")
    assert by_number.stdout == done.stdout.replace(f"{out}: 90 x 30 pixels\n", "")
    done = vqa_here(capsys, "data", "preview", data, "--model", model, "--row", "z")
    assert "no row with the id or number 'z'" in refused(done)


def test_preview_shows_pictures_where_the_text_has_them(
    data: Path, tmp_path: Path, model: Path, capsys: Capture
) -> None:
    turns = [
        {"from": "human", "value": "Is <image> the same as <image>?"},
        {"from": "gpt", "value": "yes"},
    ]
    rows = put(tmp_path / "llava.jsonl", {"image": ["red.png"] * 2, "conversations": turns})
    done = vqa_here(capsys, "data", "preview", rows, "--model", model)
    assert done.returncode == 0, done
    lines = done.stdout.split("\n\n", 1)[1].splitlines()
    assert [line.split()[0] for line in lines] == [
        "prompt", "picture", "prompt", "picture", "prompt", "learned",
    ]  # fmt: skip
    tokens = re.findall(r"'([^']*)'", lines[2])
    assert "".join(tokens) == " the same as "


FILES: dict[str, bytes] = {
    "empty.jsonl": b"",
    "picture.jsonl": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "words.txt": b"some words\n",
}


@pytest.mark.parametrize("command", ["check", "preview", "convert", "predict", "score"])
@pytest.mark.parametrize("name", [*FILES, "."])
def test_files_that_are_no_data(
    tmp_path: Path, capsys: Capture, model: Path, command: str, name: str
) -> None:
    path = tmp_path / name
    if name in FILES:
        path.write_bytes(FILES[name])
    commands: dict[str, tuple[str | Path, ...]] = {
        "check": ("data", "check", path, "--model", model),
        "preview": ("data", "preview", path),
        "convert": ("data", "convert", path, tmp_path / "out.jsonl"),
        "predict": ("predict", "--data", path, "--out", tmp_path / "out.jsonl"),
        "score": ("score", "--data", path, "--predictions", tmp_path / "p.jsonl"),
    }
    assert str(path) in refused(vqa_here(capsys, *commands[command]))


@pytest.mark.parametrize("command", ["check", "preview", "convert"])
def test_a_table_that_is_not_utf8_is_told_by_its_lines(
    tmp_path: Path, capsys: Capture, model: Path, command: str
) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("image,question,answer\nred.png,Größe?,cat\n".encode("latin1"))
    commands: dict[str, tuple[str | Path, ...]] = {
        "check": ("data", "check", path, "--model", model),
        "preview": ("data", "preview", path),
        "convert": ("data", "convert", path, tmp_path / "out.jsonl"),
    }
    done = vqa_here(capsys, *commands[command])
    assert done.returncode == 2
    assert f"{path}:2: " in done.stdout + done.stderr
    assert "UTF-8" in done.stdout + done.stderr


ROWS = {
    "no picture": {"id": 1, "question": "What?", "answer": "cat"},
    "list of lists": GOOD | {"image": [["red.png"]]},
    "leaves": GOOD | {"image": "../red.png"},
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_are_no_data(tmp_path: Path, capsys: Capture, model: Path, name: str) -> None:
    path = put(tmp_path / "data.jsonl", ROWS[name])
    assert f"{path}:1: image" in refused(vqa_here(capsys, "data", "preview", path))
    checked = vqa_here(capsys, "data", "check", path, "--model", model)
    assert checked.returncode == 2 and f"{path}:1" in checked.stdout


def test_other_formats_are_predicted_and_scored(
    data: Path, tmp_path: Path, model: Path, capsys: Capture
) -> None:
    table, out = tmp_path / "data.csv", tmp_path / "p.jsonl"
    vqa_here(capsys, "data", "convert", data, table)
    done = _predict(capsys, table, model, out)
    assert done.returncode == 0, done
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["x", 7]
    done = vqa_here(capsys, "score", "--data", data, "--predictions", out)
    assert done.returncode == 0 and "2 rows" in done.stdout
    flat = put(tmp_path / "data.jsonl", GOOD, GOOD | {"id": 7, "image": ["red.png"] * 3})
    done = _predict(capsys, flat, model, out)
    after = [json.loads(line) for line in out.read_text().splitlines()]
    assert after[0] == rows[0]  # reused: without earlier turns, its fingerprint is the same
    assert after[1]["fingerprint"] != rows[1]["fingerprint"]


def test_a_folder_for_each_class_is_predicted_and_scored(
    tmp_path: Path, model: Path, capsys: Capture
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "set" / name / "a.png")
    out = tmp_path / "p.jsonl"
    assert _predict(capsys, tmp_path / "set", model, out).returncode == 0
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [
        "cat/a.png", "dog/a.png",
    ]  # fmt: skip
    command = ("--data", tmp_path / "set", "--predictions", out)
    assert vqa_here(capsys, "score", *command).returncode == 0
    page = tmp_path / "page.html"
    assert vqa_here(capsys, "report", *command, "--out", page).returncode == 0
    assert "data:image/jpeg" in page.read_text()


def _predict(
    capsys: Capture, data: Path, model: Path, out: Path
) -> subprocess.CompletedProcess[str]:
    return vqa_here(
        capsys, "predict", "--data", data, "--model", model, "--out", out, "--max-new-tokens", "2"
    )
