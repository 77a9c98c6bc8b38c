"""`vqa report`: one page from files, and one line for whatever is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.run import refused, vqa_here
from tests.evaluation.report_data import make

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make(tmp_path)
    (tmp_path / "b.jsonl.run.json").write_text(
        json.dumps({"model": "/models/big", "adapter": "runs/wet", "condition": "seen",
                    "settings": {"max_new_tokens": 9}})
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(capsys: Capture, *arguments: str | Path) -> str:
    result = vqa_here(capsys, "report", "--data", "data.jsonl", "--draws", "100", *arguments)
    assert result.returncode == 0, result
    return result.stdout


def test_two_models(folder: Path, capsys: Capture) -> None:
    output = report(
        capsys, "--predictions", "a.jsonl", "--predictions", "b.jsonl", "--blind", "blind.jsonl",
        "--swap", "swap.jsonl", "--by", "kind", "--metric", "exact_match",
    )  # fmt: skip
    assert output == "report.html: 2 models, 31 errors shown\n"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "big + wet" in page and "max_new_tokens" in page and "Blank picture" in page
    assert page.count("data:image/jpeg") == 30


def test_names_and_pictures_elsewhere(folder: Path, capsys: Capture) -> None:
    (folder / "none").mkdir()
    report(capsys, "--predictions", "a.jsonl", "--name", "Mine & <i>yours</i>", "--images", "none",
           "--out", "deep/page.html")  # fmt: skip
    page = (folder / "deep" / "page.html").read_text(encoding="utf-8")
    assert "Mine &amp; &lt;i&gt;yours&lt;/i&gt;" in page
    assert "data:image/jpeg" not in page and "no such file" in page


def test_pictures_of_vqa_v2_elsewhere(folder: Path, capsys: Capture) -> None:
    name = "COCO_val2014_000000000042.jpg"
    (folder / "coco" / "val2014").mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(folder / "coco" / "val2014" / name)
    asked = {"image_id": 42, "question": "What?", "question_id": 1}
    about = {"data_subtype": "val2014"}
    (folder / "q.json").write_text(json.dumps(about | {"questions": [asked]}))
    answer = {"question_id": 1, "image_id": 42, "answers": [{"answer": "cat"}]}
    (folder / "a.json").write_text(json.dumps(about | {"annotations": [answer]}))
    (folder / "p.jsonl").write_text('{"id": 1, "prediction": "dog"}\n')
    done = vqa_here(capsys, "report", "--data", "q.json", "--predictions", "p.jsonl",
                    "--images", "coco", "--draws", "100")  # fmt: skip
    assert done.returncode == 0, done
    assert "data:image/jpeg" in (folder / "report.html").read_text(encoding="utf-8")


def test_equal_names_fall_back_to_the_files(folder: Path, capsys: Capture) -> None:
    run = (folder / "b.jsonl.run.json").read_text()
    (folder / "a.jsonl.run.json").write_text(run)
    report(capsys, "--predictions", "a.jsonl", "--predictions", "b.jsonl")
    assert '<p class="tile-name" dir="auto">a</p>' in (folder / "report.html").read_text()


def test_what_does_not_belong_together_is_told(folder: Path, capsys: Capture) -> None:
    run = json.loads((folder / "b.jsonl.run.json").read_text())
    (folder / "a.jsonl.run.json").write_text(json.dumps(run | {"condition": "swap", "model": "c"}))
    report(capsys, "--predictions", "a.jsonl", "--predictions", "b.jsonl")
    page = (folder / "report.html").read_text()
    assert "c + wet was predicted as “swap”" in page
    assert "b.jsonl is of another condition than a.jsonl" in page


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--predictions none.jsonl", "none.jsonl"),
        ("--predictions a.jsonl --name x --name y", "--name"),
        ("--predictions a.jsonl --predictions a.jsonl --name x --name x", "--name"),
        ("--predictions a.jsonl --metric exact", "exact_match"),
        ("--predictions a.jsonl --images nowhere", "nowhere"),
        ("--predictions a.jsonl --by colour", "kind"),
        ("--predictions a.jsonl --blind blind.jsonl --blind blind.jsonl", "--blind"),
        ("--predictions a.jsonl --blind b.jsonl", "seen"),
        ("--predictions a.jsonl --out data.jsonl", "data.jsonl"),
        ("", "--predictions"),
    ],
)
def test_wrong_input_is_one_line(
    folder: Path, capsys: Capture, arguments: str, problem: str
) -> None:
    before = (folder / "data.jsonl").read_bytes()
    result = vqa_here(capsys, "report", "--data", "data.jsonl", *arguments.split())
    assert problem in refused(result)
    assert (folder / "data.jsonl").read_bytes() == before
    assert not (folder / "report.html").exists()
