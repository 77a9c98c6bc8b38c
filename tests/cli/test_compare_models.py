"""`vqa compare` of models, whose predictions are made first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests import tiny
from tests.cli.run import refused, vqa_here

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_interleave(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = []
    for key, color in enumerate(("red", "green", "blue")):
        Image.new("RGB", (20, 30), color).save(tmp_path / f"{color}.png")
        rows.append({"id": key, "image": f"{color}.png", "question": "Which?", "answer": color})
    path = tmp_path / "test.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_a_model_and_a_file(
    data: Path, model: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    right = tmp_path / "right.jsonl"
    right.write_text(
        "".join(
            f"{json.dumps({'id': key, 'prediction': color})}\n"
            for key, color in enumerate(("red", "green", "blue"))
        )
    )
    command = ("compare", "tiny", right, "--data", data, "--max-new-tokens", "2", "--json")
    result = vqa_here(capfd, *command)
    assert result.returncode == 0, result
    output = json.loads(result.stdout)
    assert (output["base"]["name"], output["base"]["unanswered"]) == ("tiny", 0)
    assert output["comparisons"][0]["name"] == str(right)
    assert output["comparisons"][0]["fixed"] == [0, 1, 2]
    (made,) = (tmp_path / "compare").glob("test-*/tiny.jsonl")
    rows = [json.loads(line) for line in made.read_text().splitlines()]
    assert [row["id"] for row in rows] == [0, 1, 2] and all("prediction" in row for row in rows)

    # the same file, byte for byte, as of `vqa predict`
    out = tmp_path / "predicted.jsonl"
    predicted = vqa_here(capfd, "predict", "--data", data, "--model", "tiny",
                         "--max-new-tokens", "2", "--out", out)  # fmt: skip
    assert predicted.returncode == 0 and out.read_bytes() == made.read_bytes()

    # what an interrupted run has answered stays
    made.write_text("".join(made.read_text().splitlines(keepends=True)[:2]))
    again = vqa_here(capfd, *command)
    assert "1 answered, 2 kept from before" in again.stderr
    assert json.loads(again.stdout) == output

    # other data of the same name have a place of their own
    data.write_text(data.read_text().replace('"id": ', '"id": 10'))
    right.write_text(right.read_text().replace('"id": ', '"id": 10'))
    assert vqa_here(capfd, *command).returncode == 0
    assert len(list((tmp_path / "compare").iterdir())) == 2


def test_a_broken_picture_counts_as_unanswered(
    data: Path, model: Path, tmp_path: Path, capfd: Capture
) -> None:
    (tmp_path / "green.png").write_text("no picture")
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": 0, "prediction": "red"}\n')
    result = vqa_here(
        capfd, "compare", file, model, "--data", data, "--out", tmp_path / "made", "--json"
    )
    assert result.returncode == 0, result
    output = json.loads(result.stdout)
    assert output["base"]["unanswered"] == 2 and output["comparisons"][0]["unanswered"] == 1
    assert len(list((tmp_path / "made").glob("*.jsonl"))) == 1


def test_what_is_neither_is_refused_before_anything_is_asked(
    data: Path, model: Path, tmp_path: Path, capfd: Capture
) -> None:
    common = ("--data", data)
    for name in ("none.jsonl", "runs/none.jsonl", "./none", "a/b/c", str(tmp_path / "none")):
        message = refused(vqa_here(capfd, "compare", model, name, *common))
        assert f"{name}: no such file of predictions, and no model" in message
    message = refused(vqa_here(capfd, "compare", model, "runs/none", *common))
    assert "runs/none: no such directory, and no hub could give a model of that name" in message
    assert "holds no model" in refused(vqa_here(capfd, "compare", model, tmp_path, *common))
    one, other = tmp_path / "x" / "y", tmp_path / "x-y"
    for folder in (one, other):
        shutil.copytree(model, folder)
    assert "share the file" in refused(vqa_here(capfd, "compare", one, other, *common))
    assert not (tmp_path / "compare").exists()
