"""`vqa eval`: predict, score and report of named benchmarks in one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.cli.run import refused, vqa_here
from tests.evaluation.test_benchmark_rows import pope, put, vqav2
from tests.killing import Command, killed_like_unbroken

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_interleave(tmp_path_factory.mktemp("models") / "tiny")


def arguments(folder: Path, model: Path) -> list[str | Path]:
    """Evaluate on official folders of POPE and VQA v2."""
    questions, pictures = pope(folder / "pope")
    of_vqav2, _ = vqav2(folder / "vqav2")
    return [
        "eval", "pope", "vqav2", "--data", f"pope={questions}", "--images", f"pope={pictures}",
        "--data", f"vqav2={of_vqav2}", "--model", model, "--device", "cpu", "--batch-size", "2",
    ]  # fmt: skip


def of_json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def test_two_tasks(model: Path, tmp_path: Path, capfd: Capture) -> None:
    command = [*arguments(tmp_path, model), "--out", tmp_path / "out"]
    done = vqa_here(capfd, *command)
    assert done.returncode == 0, done
    scores = {name: of_json(tmp_path / "out" / name / "scores.json") for name in ("pope", "vqav2")}
    assert scores["pope"]["count"] == 6 and scores["pope"]["chance"] == 0.5
    assert len(scores["pope"]["slices"]) == 3 and "f1" in scores["pope"]
    assert scores["vqav2"]["count"] == 2 and scores["vqav2"]["profile"] == "lmms-eval"
    assert "pope" in done.stdout and "50.0" in done.stdout and "2 tasks" in done.stdout
    for name in scores:
        folder = tmp_path / "out" / name
        assert (folder / "report.html").stat().st_size > 10_000
        # what it has written is what the single commands make and take
        single = vqa_here(capfd, "score", "--data", folder / "rows.jsonl", "--predictions",
                          folder / "predictions.jsonl", "--metric", scores[name]["metric"],
                          "--profile", scores[name]["profile"], "--json")  # fmt: skip
        assert single.returncode == 0, single
        alone = json.loads(single.stdout)
        assert alone["count"] == scores[name]["count"]
        assert alone["intervals"] == scores[name]["intervals"]
    again = vqa_here(capfd, *command)
    assert again.returncode == 0 and "0 answered, 6" in again.stderr, again
    few = vqa_here(capfd, *command[:-1], tmp_path / "few", "--limit", "1")
    assert few.returncode == 0 and of_json(tmp_path / "few/pope/scores.json")["count"] == 1


def test_list(capfd: Capture) -> None:
    done = vqa_here(capfd, "eval", "--list")
    assert done.returncode == 0
    assert "pope" in done.stdout and "vqa_accuracy" in done.stdout and "cider_d" in done.stdout


def test_a_task_of_ones_own(model: Path, tmp_path: Path, capfd: Capture) -> None:
    folder, _ = vqav2(tmp_path / "vqav2")
    put(tmp_path / "mine.yaml", "title: mine\nprompt: 'Short: {question}'\nmetric: exact_match\n")
    common = ["eval", tmp_path / "mine.yaml", "--data", folder, "--model", model, "--device", "cpu"]
    done = vqa_here(capfd, *common, "--out", tmp_path / "out")
    assert done.returncode == 0, done
    rows = (tmp_path / "out/mine/rows.jsonl").read_text().splitlines()
    assert [json.loads(row)["question"] for row in rows] == [
        "Short: What color?", "Short: What animal?"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ([], "name the tasks, and --out DIR"),
        (["pope"], "name the tasks, and --out DIR"),
        (["pope", "--data", "none", "--out", "OUT"], "none: no such file or directory"),
        (["pope", "vqav2", "--data", "none", "--out", "OUT"], "say which, as pope=none"),
        (["pope", "--data", "a", "--data", "b", "--out", "OUT"], "given twice for pope"),
        (["pope", "pope", "--out", "OUT"], "two tasks have the same name"),
        (["popes", "--out", "OUT"], "no task 'popes'; there are ai2d"),
        (["gqa", "--out", "OUT"], "no data on the hub"),
        (["docvqa", "--out", "OUT"], "no hub could give a data set of that name"),
    ],
)
def test_what_is_wrong_is_a_line(
    more: list[str], line: str, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    options = [str(tmp_path / "out") if word == "OUT" else word for word in more]
    assert line in refused(vqa_here(capfd, "eval", *options))
    assert not list(tmp_path.rglob("rows.jsonl"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux")
def test_killed_twice(model: Path, tmp_path: Path) -> None:
    common = arguments(tmp_path, model)

    def of(out: Path) -> Command:
        return Command([*common, "--out", out], out / "pope/predictions.jsonl", tmp_path / "cache")

    whole, parts, kills = killed_like_unbroken(of, tmp_path, 2, seed=23)
    assert any(running for _, running in kills)
    for task in ("pope", "vqav2"):
        for name in ("rows.jsonl", "scores.json"):
            assert (parts / task / name).read_bytes() == (whole / task / name).read_bytes()
        lines = [
            sorted((out / task / "predictions.jsonl").read_bytes().splitlines())
            for out in (whole, parts)
        ]
        assert lines[0] == lines[1] and len(lines[0]) == {"pope": 6, "vqav2": 2}[task]
