"""What a command writes never takes the place of what it reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.run import refused, vqa_here

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "c.png")
    row = {"id": 1, "image": "c.png", "question": "What?", "answer": "a cat"}
    (tmp_path / "d.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "s.jsonl").write_text(json.dumps({"id": 1, "prediction": "a cat"}) + "\n")
    os.link(tmp_path / "c.png", tmp_path / "same.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "merge-predictions s.jsonl --data d.jsonl --out d.jsonl",
        "merge-predictions s.jsonl --data d.jsonl --out ./s.jsonl",
        "ask c.png What? --explain c.png",
        "ask c.png What? --explain same.png",
        "classify c.png --labels cat,dog --out c.png",
        "data preview d.jsonl --out c.png",
        "data preview d.jsonl --out d.jsonl",
        "report --data d.jsonl --predictions s.jsonl --out s.jsonl",
    ],
)
def test_a_file_that_is_read_is_not_replaced(files: Path, capfd: Capture, command: str) -> None:
    before = {path: path.read_bytes() for path in files.iterdir()}
    assert "is one of the files that are read" in refused(vqa_here(capfd, *command.split()))
    assert {path: path.read_bytes() for path in files.iterdir()} == before


@pytest.mark.parametrize("out", [".", "d.jsonl/x.csv"])
def test_a_place_that_cannot_be_written_is_told_before_any_work(
    files: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.setattr("vqa.alignment.loading.load", lambda *_: pytest.fail("it was loaded"))
    message = refused(vqa_here(capfd, "classify", "c.png", "--labels", "a,b", "--out", out))
    assert message.startswith("vqa: --out ")
