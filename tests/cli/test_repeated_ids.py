"""Data that repeats ids, through the commands: answers are joined with the right rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import tiny
from tests.cli.run import refused, vqa, vqa_here
from vqa.data import read

Capture = pytest.CaptureFixture[str]
COLORS = ("red", "green", "blue", "white")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_interleave(tmp_path_factory.mktemp("model"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """LLaVA's JSON: an id for each picture, two conversations about each, and a row of no use."""
    rows: list[dict[str, Any]] = []
    for color in COLORS:
        Image.new("RGB", (20, 30), color).save(tmp_path / f"{color}.png")
    for question in ("What is it?", "Which color is it?"):
        for number, color in enumerate(COLORS):
            turns = [{"from": "human", "value": f"<image>\n{question}"},
                    {"from": "gpt", "value": f"{color}, {len(question)}"}]  # fmt: skip
            rows.append({"id": number, "image": f"{color}.png", "conversations": turns})
    rows.insert(5, {"id": 0, "image": "red.png", "conversations": []})
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows))
    return path


def notices(text: str) -> list[str]:
    return [line for line in text.splitlines() if "repeat" in line]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_predict_tells_the_rows_apart_before_it_starts(
    data: Path, model: Path, tmp_path: Path, capfd: Capture
) -> None:
    out = tmp_path / "p.jsonl"
    options = ("--data", data, "--model", model, "--max-new-tokens", "2")
    done = vqa_here(capfd, "predict", *options, "--out", out)
    assert done.returncode == 1  # the row without a question
    (line,) = notices(done.stderr)
    assert line == (
        f"vqa: {data}: 5 rows repeat the id of an earlier row, first 0 in line 5: they are called "
        "'0#2' and so on"
    )
    assert done.stderr.index(line) < done.stderr.index(str(out))
    answered = {row["id"]: row for row in lines(out)}
    assert len(answered) == 9
    assert answered["0#3"]["error"].startswith(f"{data}:6: ")
    assert {"0", 0, "0#2", "1#2", "2#2", "3#2"} - {"0"} <= answered.keys()
    done = vqa_here(capfd, "predict", *options, "--out", out)
    assert "0 answered, 8 kept" in done.stderr
    assert {row["id"]: row for row in lines(out)} == answered

    parts = [tmp_path / f"part-{number}.jsonl" for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        vqa_here(capfd, "predict", *options, "--out", part, "--shard", f"{number}/2")
    whole = tmp_path / "whole.jsonl"
    done = vqa_here(capfd, "merge-predictions", *parts, "--data", data, "--out", whole)
    assert done.returncode == 0 and len(notices(done.stderr)) == 1
    assert [row["id"] for row in lines(whole)] == [0, 1, 2, 3, "0#2", "0#3", "1#2", "2#2", "3#2"]
    assert {row["id"]: row.get("prediction") for row in lines(whole)} == {
        key: row.get("prediction") for key, row in answered.items()
    }


def right(data: Path, out: Path) -> Path:
    """Predictions that are all right, for the good rows."""
    rows = read(data, bad=lambda _: None)
    out.write_text(
        "".join(json.dumps({"id": row.id, "prediction": row.answers[0]}) + "\n" for row in rows)
    )
    return out


def test_score_compare_and_report_join_rightly(data: Path, tmp_path: Path, capfd: Capture) -> None:
    good = right(data, tmp_path / "good.jsonl")
    rows = lines(good)
    worse = tmp_path / "worse.jsonl"
    rows[-1]["prediction"] = "no"
    worse.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = vqa_here(capfd, "score", "--data", data, "--predictions", good, "--json",
                    "--metric", "exact_match")  # fmt: skip
    assert done.returncode == 0 and len(notices(done.stderr)) == 1
    output = json.loads(done.stdout)
    assert output[next(iter(output))] == 1 and output["count"] == 8, output
    assert output["missing"] == output["unknown"] == 0
    done = vqa_here(capfd, "compare", good, worse, "--data", data, "--metric", "exact_match",
                    "--json")  # fmt: skip
    assert done.returncode == 0 and len(notices(done.stderr)) == 1
    assert json.loads(done.stdout)["comparisons"][0]["broken"] == ["3#2"]
    done = vqa_here(capfd, "report", "--data", data, "--predictions", worse, "--metric",
                    "exact_match", "--out", tmp_path / "r.html")  # fmt: skip
    assert done.returncode == 0 and len(notices(done.stderr)) == 1
    assert "1 errors shown" in done.stdout


def test_compare_of_a_model_says_it_once(
    data: Path, model: Path, tmp_path: Path, capfd: Capture
) -> None:
    good = right(data, tmp_path / "good.jsonl")
    done = vqa_here(capfd, "compare", good, model, "--data", data, "--max-new-tokens", "2",
                    "--out", tmp_path / "out", "--metric", "exact_match")  # fmt: skip
    assert done.returncode == 0 and len(notices(done.stderr)) == 1, done.stderr


@pytest.mark.parametrize("command", ["score", "compare", "report"])
def test_predictions_of_other_rows_are_refused(
    data: Path, tmp_path: Path, capfd: Capture, command: str
) -> None:
    """An id that is repeated means another row once the rows have another order."""
    good = right(data, tmp_path / "good.jsonl")
    Path(f"{good}.run.json").write_text(json.dumps({"data": {"file": "d", "sha256": "0" * 64}}))
    files = {"score": ("--predictions", good), "compare": (good, right(data, tmp_path / "b.jsonl")),
             "report": ("--predictions", good, "--out", tmp_path / "r.html")}  # fmt: skip
    done = vqa_here(capfd, command, "--data", data, *files[command])
    assert done.returncode == 2 and done.stdout == ""
    assert "so an id may mean another row" in done.stderr.splitlines()[-1]
    assert str(good) in done.stderr.splitlines()[-1]
    unique = tmp_path / "unique.jsonl"  # where ids are unique they mean what they say
    assert vqa_here(capfd, "data", "convert", data, unique, "--skip-bad").returncode == 0
    assert vqa_here(capfd, command, "--data", unique, *files[command]).returncode == 0


def test_predictions_that_repeat_ids_are_refused(
    data: Path, tmp_path: Path, capfd: Capture
) -> None:
    foreign = tmp_path / "foreign.jsonl"
    rows = [{"id": key, "prediction": "red"} for key in (0, 1, 2, 3, 0, 1, 2, 3)]
    foreign.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = vqa_here(capfd, "score", "--data", data, "--predictions", foreign)
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and f"{foreign}:5: the id 0 is there twice" in line
    assert "'0#2'" in line


def test_official_results_that_repeat_ids_are_refused(
    data: Path, tmp_path: Path, capfd: Capture
) -> None:
    """The form of VQA v2: with the ids of the rows it is read, with repeated ones it is not."""
    rows = lines(right(data, tmp_path / "good.jsonl"))
    results = tmp_path / "results.json"
    for keys, code in (([row["id"] for row in rows], 0), ([0, 1, 2, 3, 0, 1, 2, 3], 2)):
        answers = [{"question_id": key, "answer": row["prediction"]}
                for key, row in zip(keys, rows, strict=True)]  # fmt: skip
        results.write_text(json.dumps(answers))
        done = vqa_here(capfd, "score", "--data", data, "--predictions", results, "--json",
                        "--metric", "exact_match")  # fmt: skip
        assert done.returncode == code, done.stderr
        if code == 0:
            output = json.loads(done.stdout)
            assert output[next(iter(output))] == 1 and output["missing"] == 0
        else:
            line = done.stderr.splitlines()[-1]
            assert f"{results}:5: the question_id 0 is there twice" in line and "'0#2'" in line


def test_split_convert_preview_and_check(
    data: Path, model: Path, tmp_path: Path, capfd: Capture
) -> None:
    rows = json.loads(data.read_text())
    del rows[5]
    data.write_text(json.dumps(rows))
    done = vqa_here(capfd, "data", "split", data, tmp_path / "split", "--share", "0.3")
    assert done.returncode == 0 and len(notices(done.stderr)) == 1
    done = vqa_here(capfd, "data", "convert", data, tmp_path / "c.jsonl")
    assert done.returncode == 0 and len(notices(done.stderr)) == 1
    assert [row["id"] for row in lines(tmp_path / "c.jsonl")][4:] == ["0#2", "1#2", "2#2", "3#2"]
    done = vqa_here(capfd, "data", "preview", data, "--row", "2#2", "--model", model)
    assert done.returncode == 0 and f'{data}:7: row "2#2"' in done.stdout
    done = vqa_here(capfd, "data", "check", data, "--model", model, "--no-time")
    assert done.returncode == 0 and len(notices(done.stdout)) == 1, done.stdout
    assert "No problems." in done.stdout
    done = vqa_here(capfd, "data", "check", data, "--model", model, "--no-time", "--json")
    assert json.loads(done.stdout)["repeated_ids"][0]["rows"] == 4


@pytest.mark.skipif(sys.platform == "win32", reason="a process of its own")
def test_ids_are_the_same_in_every_process(data: Path, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        out = tmp_path / f"{seed}.csv"
        done = vqa("data", "convert", data, out, "--skip-bad", extra={"PYTHONHASHSEED": seed})
        assert done.returncode == 0, refused(done)
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
