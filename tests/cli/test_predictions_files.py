"""Every command that takes a file of predictions, on files that hold none and on official ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import tiny
from tests.cli.run import refused, vqa_here

Capture = pytest.CaptureFixture[str]

# files that were scored as 0 %, merged as no rows, or cut and written behind
FOREIGN: dict[str, bytes] = {
    "a list in one line": b'[{"id":1,"prediction":"red"}]',
    "official results": b'[{"question_id": 1, "answer": "red"}]',
    "a text": b"my notes",
    "a table": b"id,prediction\n1,red",
    "an object": b'{"version": "1.0", "questions": []}',
    "an object that was torn": b'{"version": "1.0", "questions": [',
    "an object over lines": b'{\n  "id": 1\n}',
    "UTF-16": '{"id": 1}\n'.encode("utf-16"),
    "numbers": b"1\n2\n3",
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six rows about six pictures, in the directory of the command."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for number in range(1, 7):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
        answer = ("red", "blue")[number % 2]
        rows.append({"id": number, "image": f"{number}.png", "question": "?", "answer": answer})
    return write(tmp_path / "data.jsonl", rows)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture
def good(data: Path) -> Path:
    rows = [{"id": n, "prediction": "red", "fingerprint": "a-b"} for n in range(1, 7)]
    return write(data.with_name("good.jsonl"), rows)


def test_the_example_is_refused_by_score_and_compare(
    data: Path, good: Path, capfd: Capture
) -> None:
    path = data.with_name("p.json")
    path.write_bytes(FOREIGN["a list in one line"])
    for command in (("score", "--predictions", path), ("compare", path, good),
                    ("compare", good, path)):  # fmt: skip
        message = refused(vqa_here(capfd, *command, "--data", data))
        assert "p.json" in message and "holds no predictions" in message


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"red", b'{"id": 1, "predi', b"id,prediction\n1,red\n"]
)
def test_all_that_read_predictions_refuse_what_holds_none(
    data: Path, good: Path, capfd: Capture, content: bytes
) -> None:
    path = data.with_name("p.jsonl")
    path.write_bytes(content)
    scored = ("score", "--data", data, "--predictions", good)
    for command in (
        ("score", "--data", data, "--predictions", path),
        ("score", "--data", data, "--predictions", path, "--explain", "1"),
        (*scored, "--blind", path),
        (*scored, "--swap", path),
        ("compare", "--data", data, path, good),
        ("compare", "--data", data, good, path),
        ("report", "--data", data, "--predictions", path),
        ("report", "--data", data, "--predictions", good, "--blind", path),
    ):
        assert "p.jsonl" in refused(vqa_here(capfd, *command))
    assert not data.with_name("report.html").exists()


def test_predictions_of_other_data_are_no_score_of_nothing(
    data: Path, good: Path, capfd: Capture
) -> None:
    other = data.with_name("other.json")
    other.write_text(json.dumps([{"question_id": 99, "answer": "red"}]))
    for command in (
        ("score", "--predictions", other),
        ("score", "--predictions", other, "--explain", "1"),
        ("compare", good, other),
        ("report", "--predictions", other),
    ):
        assert "no prediction has an id of the data" in refused(
            vqa_here(capfd, *command, "--data", data)
        )


def test_compare_reads_the_files_before_a_model_answers(data: Path, capfd: Capture) -> None:
    model = tiny.llava_interleave(data.with_name("model"))
    data.with_name("p.jsonl").write_text("red")
    message = refused(vqa_here(capfd, "compare", model, "p.jsonl", "--data", data))
    assert "p.jsonl" in message
    assert not data.with_name("compare").exists()


def test_official_results_are_scored_against_official_questions(data: Path, capfd: Capture) -> None:
    folder = data.with_name("official")
    folder.mkdir()
    keys = (262148000, 262148001)
    questions = [{"image_id": 1, "question": "Which?", "question_id": key} for key in keys]
    (folder / "questions.json").write_text(json.dumps({"questions": questions}))
    answers = [{"answer": "red", "answer_id": n} for n in range(1, 10)]
    answers.append({"answer": "blue", "answer_id": 10})
    annotations = [
        {"question_id": key, "image_id": 1, "answers": answers, "multiple_choice_answer": "red"}
        for key in keys
    ]
    (folder / "annotations.json").write_text(json.dumps({"annotations": annotations}))
    answers = [
        {"question_id": keys[0], "answer": "Red."},
        {"question_id": keys[1], "answer": "blue"},
    ]
    for name, results in (
        ("numbers", answers),
        ("texts", [row | {"question_id": str(row["question_id"])} for row in answers]),
    ):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(results))
        done = vqa_here(
            capfd, "score", "--data", folder / "questions.json", "--predictions", path,
            "--metric", "vqa_accuracy", "--rows", "--json",
        )  # fmt: skip
        assert done.returncode == 0, done
        rows = json.loads(done.stdout)["rows"]
        assert rows == [{"id": keys[0], "score": 1.0}, {"id": keys[1], "score": pytest.approx(0.3)}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_interleave(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_nothing_is_written_to_a_file_of_something_else(
    data: Path, good: Path, model: Path, content: bytes, capfd: Capture
) -> None:
    mine = data.with_name("mine")
    mine.write_bytes(content)
    for command in (
        ("predict", "--data", data, "--model", model, "--out", mine),
        ("merge-predictions", good, "--data", data, "--out", mine),
        ("merge-predictions", good, mine, "--data", data, "--out", data.with_name("new")),
    ):
        message = refused(vqa_here(capfd, *command))
        assert str(mine) in message
        assert "not written by `vqa predict`" in message or "not a JSON object" in message
    assert mine.read_bytes() == content
    assert not data.with_name("new").exists()
    assert not list(data.parent.glob("*.run.json"))


@pytest.mark.parametrize("content", [b"", b"\n", b'{"i', b'{"id": 1, "predi'])
def test_a_run_that_was_killed_in_its_first_row_goes_on(
    data: Path, model: Path, content: bytes, capfd: Capture
) -> None:
    whole, out = data.with_name("whole"), data.with_name("out")
    out.write_bytes(content)
    for path in (whole, out):
        command = ("predict", "--data", data, "--model", model, "--out", path)
        assert vqa_here(capfd, *command, "--max-new-tokens", "2").returncode == 0
    assert out.read_text().strip() == whole.read_text().strip()
