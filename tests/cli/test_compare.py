"""`vqa compare` on files as a user has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import refused, vqa_here

Capture = pytest.CaptureFixture[str]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Forty rows; `a` has half of them right, `b` all but one of these and most others."""
    rows = [
        {"id": i, "image": f"{i}.png", "question": f"Is it [b]{i}[/b]?", "answer": "cat"}
        for i in range(40)
    ]
    right = {"a": range(20), "b": range(1, 38), "c": range(21)}
    files = {"data": write(tmp_path / "data.jsonl", rows)}
    for name, good in right.items():
        predictions = [
            {"id": i, "prediction": "a cat" if i in good else "a dog"} for i in range(40)
        ]
        files[name] = write(tmp_path / f"{name}.jsonl", predictions)
    return files


def test_json(files: dict[str, Path], capfd: Capture) -> None:
    a, b, c, data = (files[name] for name in ("a", "b", "c", "data"))
    result = vqa_here(capfd, "compare", a, b, c, "--data", data, "--json")
    assert result.returncode == 0 and result.stderr == ""
    output = json.loads(result.stdout)
    assert (output["metric"], output["profile"], output["count"]) == ("exact_match", "official", 40)
    assert output["base"] == {"name": str(a), "value": 0.5, "unanswered": 0}
    better, same = output["comparisons"]
    assert (better["name"], better["verdict"]) == (str(b), "better")
    assert better["fixed"] == list(range(20, 38)) and better["broken"] == [0]
    assert better["mcnemar"]["p"] == pytest.approx(2 * (1 + 19) / 2**19)
    assert same["verdict"] == "not distinguishable" and same["fixed"] == [20]


def test_what_a_person_reads(files: dict[str, Path], capfd: Capture) -> None:
    a, b, data = (files[name] for name in ("a", "b", "data"))
    with b.open("a") as file:
        file.write('{"id": "unknown", "prediction": "cat"}\n')
    result = vqa_here(capfd, "compare", a, b, "--data", data, "--metric", "exact_match")
    assert result.returncode == 0, result
    text = result.stdout
    assert "exact_match over 40 rows of 40 pictures" in text
    assert f"{b} is better than {a} (+42.5 points, 95 %: " in text
    assert "18 rows fixed, 1 broken; McNemar's test" in text and ": p = 7.6e-05." in text
    assert f"{b} fixed 20: Is it [b]20[/b]?" in text
    assert "'a dog' -> 'a cat'; accepted: cat" in text
    assert "... and 15 more" in text
    assert f"{b} broke 0: Is it [b]0[/b]?" in text
    other = vqa_here(capfd, "compare", b, a, "--data", data)
    assert f"{a} is worse than {b} (-42.5 points" in other.stdout


def test_runs_that_do_not_match_are_told(files: dict[str, Path], capfd: Capture) -> None:
    for name, condition in (("a", "seen"), ("b", "blind")):
        path = files[name].with_name(f"{name}.jsonl.run.json")
        path.write_text(json.dumps({"condition": condition, "data": {"sha256": name}}))
    a, b = files["a"], files["b"]
    result = vqa_here(capfd, "compare", a, b, "--data", files["data"], "--json")
    assert result.returncode == 0
    assert "another data" in result.stderr and "another condition" in result.stderr


def test_wrong_input_is_one_line(files: dict[str, Path], capfd: Capture) -> None:
    a, b, data = (files[name] for name in ("a", "b", "data"))
    common = ("--data", data)
    assert "two predictions files" in refused(vqa_here(capfd, "compare", a, *common))
    assert "named twice" in refused(vqa_here(capfd, "compare", a, b, a, *common))
    assert "none.jsonl" in refused(vqa_here(capfd, "compare", a, "none.jsonl", *common))
    assert "nothing" in refused(vqa_here(capfd, "compare", a, b, *common, "--metric", "nothing"))
    assert "--data" in refused(vqa_here(capfd, "compare", a, b))
    write(b, [{"id": "x", "prediction": "cat"}])
    assert "other data" in refused(vqa_here(capfd, "compare", a, b, *common))
