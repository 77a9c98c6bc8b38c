"""`vqa data pairs`: which predictions become rejected answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.run import refused, vqa_here

ROWS = [
    {"id": 1, "image": "a.png", "question": "Is a person there?", "answer": "no"},
    {"id": 2, "image": "a.png", "question": "Is a cat there?", "answer": "Yes."},
    {"id": 3, "image": "a.png", "question": "What is it?", "answers": ["cat", "kitten"]},
    {"id": 4, "image": "a.png", "question": "Which colour?", "answer": "grey"},
    {"id": 5, "image": "a.png", "question": "How many?", "answer": "2"},
    {"id": 6, "image": "a.png", "question": "And now?", "answer": "2"},
]
PREDICTIONS = [
    {"id": 1, "prediction": "Yes"},
    {"id": 2, "prediction": "yes"},
    {"id": 3, "prediction": "Kitten."},
    {"id": 4, "prediction": " red "},
    {"id": 5, "error": "the picture is broken"},
    {"id": "6", "prediction": ""},
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for name, rows in (("rows", ROWS), ("answers", PREDICTIONS)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def written(
    capture: pytest.CaptureFixture[str], files: Path, *options: str
) -> dict[int, tuple[str, str]]:
    out = files / "pairs.jsonl"
    data = ["--data", str(files / "rows.jsonl"), "--out", str(out)]
    result = vqa_here(capture, "data", "pairs", str(files / "answers.jsonl"), *data, *options)
    assert result.returncode == 0, result
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(row["image"] == "a.png" for row in rows)
    return {row["id"]: ((row.get("answer") or row["answers"][0]), row["rejected"]) for row in rows}


def test_wrong_answers_are_rejected_and_right_or_missing_ones_are_not(
    files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert written(capfd, files) == {1: ("no", "Yes"), 4: ("grey", "red")}


def test_right_answers_of_yes_or_no_come_against_the_other_word(
    files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert written(capfd, files, "--opposites") == {
        1: ("no", "Yes"), 2: ("yes", "no"), 4: ("grey", "red"),
    }  # fmt: skip


def test_nothing_wrong_is_one_line(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (files / "answers.jsonl").write_text('{"id": 3, "prediction": "cat"}\n')
    result = vqa_here(capfd, "data", "pairs", files / "answers.jsonl", "--data",
                      files / "rows.jsonl", "--out", files / "p.jsonl")  # fmt: skip
    error = refused(result)
    assert "nothing is preferred" in error and not (files / "p.jsonl").exists()
