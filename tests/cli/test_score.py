"""`vqa score` on files as a user has them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import environment, refused, vqa_here

Capture = pytest.CaptureFixture[str]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty rows about ten pictures that do not exist; ids of both types, a column `task`."""
    rows = []
    for i in range(20):
        color = ("red", "green", "blue", "red")[i // 2 % 4]
        task = "kind" if i % 2 else "color"
        rows.append({
            "id": i if i % 2 else str(i),
            "image": f"{i // 2}.png",
            "question": ("Which color?", "What is it?")[i % 2],
            "answer": f"a {color} thing" if i % 2 else color,
            "task": task,
        })  # fmt: skip
    return write(tmp_path / "data.jsonl", rows)


@pytest.fixture
def predictions(data: Path, tmp_path: Path) -> Path:
    """All right but the last four, and less sure of these; the last one failed."""
    rows = []
    for number, line in enumerate(data.read_text().splitlines()):
        row = json.loads(line)
        right = number < 16
        rows.append({
            "id": row["id"],
            "prediction": row["answer"] if right else "nothing",
            "probability": 0.9 if right else 0.1,
            "finish": "stop",
            "fingerprint": "x",
        })  # fmt: skip
    rows[-1] = {"id": 19, "error": "no picture", "fingerprint": "x"}
    return write(tmp_path / "p.jsonl", rows)


@pytest.fixture
def command(data: Path, predictions: Path) -> tuple[str | Path, ...]:
    return ("score", "--data", data, "--predictions", predictions, "--metric", "exact_match")


def test_the_json_of_one_value(command: tuple[str | Path, ...], capfd: Capture) -> None:
    result = vqa_here(capfd, *command, "--rows", "--json", "--draws", "200")
    assert result.returncode == 0 and result.stderr == ""
    output = json.loads(result.stdout)
    assert output["score"] == 0.8
    assert (output["metric"], output["profile"], output["count"]) == ("exact_match", "official", 20)
    assert (output["missing"], output["errors"], output["unknown"]) == (0, 1, 0)
    assert output["rows"][0] == {"id": "0", "score": 1.0}
    assert output["rows"][-1] == {"id": 19, "score": 0.0}
    low, high = output["intervals"]["score"]
    assert 0.3 < low < 0.8 < high <= 1
    assert set(output["baselines"]) == {"commonest", "question_only"}
    assert output["baselines"]["commonest"]["answer"] == "red"
    assert output["seeing"]["baseline"] == "question_only" and output["seeing"]["value"] > 0
    assert output["calibration"]["count"] == 19
    assert output["calibration"]["threshold"] == 0.5
    assert output["calibration"]["coverage"] == pytest.approx(16 / 19)


def test_pope_has_its_values_at_the_top(tmp_path: Path, capfd: Capture) -> None:
    rows, predictions = [], []
    for answer, prediction in (("yes", "Yes, there is."), ("no", "no"), ("yes", "no")):
        key = len(rows)
        rows.append({"id": key, "image": f"{key}.png", "question": "Is it?", "answer": answer})
        predictions.append({"id": key, "prediction": prediction})
    data, out = write(tmp_path / "d.jsonl", rows), write(tmp_path / "p.jsonl", predictions)
    result = vqa_here(
        capfd, "score", "--data", data, "--predictions", out, "--metric", "pope", "--json"
    )
    output = json.loads(result.stdout)
    values = {name: output[name] for name in ("accuracy", "precision", "recall", "f1", "yes_rate")}
    assert values == pytest.approx(
        {"accuracy": 2 / 3, "precision": 1.0, "recall": 0.5, "f1": 2 / 3, "yes_rate": 1 / 3}
    )
    assert set(output["intervals"]) == set(values)
    assert output["calibration"] is None


def test_what_a_person_reads(command: tuple[str | Path, ...], capfd: Capture) -> None:
    result = vqa_here(capfd, *command, "--by", "task")
    assert result.returncode == 0
    text = result.stdout
    assert "exact_match over 20 rows of 10 pictures" in text
    assert "80.0 %" in text
    assert "the commonest answer ('red')" in text and "the question alone" in text
    assert "the question alone reaches" in text and "95 %: " in text
    assert "Below a probability of 0.5 an answer is rather wrong than right on these rows" in text
    assert "Intervals from 10 pictures are rough." in text
    assert "1 row failed, counted as an empty answer: 19" in text
    assert "color" in text and "kind" in text
    assert "\x1b" not in text


def test_blind_and_swap_stand_beside(
    command: tuple[str | Path, ...], tmp_path: Path, capfd: Capture
) -> None:
    other = write(tmp_path / "b.jsonl", [{"id": "0", "prediction": "red"}])
    output = json.loads(
        vqa_here(capfd, *command, "--blind", other, "--swap", other, "--json").stdout
    )
    assert output["baselines"]["blind"] == output["baselines"]["swap"] == {"score": 0.05}
    about = {"model": "m", "condition": "blind", "data": {"file": "d", "sha256": "a"}}
    (tmp_path / "b.jsonl.run.json").write_text(json.dumps(about))
    (tmp_path / "p.jsonl.run.json").write_text(json.dumps(about | {"model": "n"}))
    warned = vqa_here(capfd, *command, "--blind", other, "--json")
    assert warned.returncode == 0
    assert warned.stderr == (
        f"vqa: warning: {other} is of another model than {tmp_path / 'p.jsonl'}: m against n\n"
    )
    message = refused(vqa_here(capfd, *command, "--swap", other))
    assert "b.jsonl was predicted as 'blind', not as 'swap'" in message


def test_explain_a_row_by_its_id(command: tuple[str | Path, ...], capfd: Capture) -> None:
    output = json.loads(vqa_here(capfd, *command, "--explain", "1", "--json").stdout)
    assert (output["id"], output["prediction"], output["score"]) == (1, "a red thing", 1.0)
    assert output["answers"] == ["a red thing"] and output["steps"]
    text = vqa_here(capfd, *command, "--explain", "16").stdout  # there is only the text "16"
    assert 'row: "16"' in text and "question: Which color?" in text
    assert "prediction: 'nothing'" in text and "exact_match: 0\n    " in text
    assert 'row: "16"' in vqa_here(capfd, *command, "--explain", '"16"').stdout
    failed = vqa_here(capfd, *command, "--explain", "19").stdout
    assert "prediction: none (failed: no picture)" in failed
    assert "no row with the id '99'" in refused(vqa_here(capfd, *command, "--explain", "99"))


def test_text_of_strangers_is_harmless(tmp_path: Path, capfd: Capture) -> None:
    odd = "[/b] :smile: \x1b[31m\ud800 red"
    row = {"image": "a.png", "question": odd, "answer": odd, odd: odd}
    rows = [row | {"id": odd}, row | {"id": 2, "image": "b.png"}]
    data = write(tmp_path / "d.jsonl", rows)
    predictions = [
        {"id": odd, "prediction": odd},
        {"id": 2, "error": odd},
        {"id": f"{odd}?", "error": ""},
    ]
    out = write(tmp_path / "p.jsonl", predictions)
    command = ("score", "--data", data, "--predictions", out, "--metric", "exact_match")
    for more in (("--by", odd.replace("\ud800", "\udc80")), ("--rows",), ("--explain", "2"),
                 ("--explain", json.dumps(odd))):  # fmt: skip
        result = vqa_here(capfd, *command, *more)
        assert "\x1b" not in result.stdout + result.stderr
        assert "Traceback" not in result.stderr and result.returncode in (0, 2), result
    done = vqa_here(capfd, *command, "--rows", "--json")
    assert json.loads(done.stdout)["rows"][0]["id"] == odd, done


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (["--by", "nothing"], "no row has a column 'nothing'; there are task"),
        (["--metric", "exact"], "exact_match"),
        (["--profile", "other"], "profile"),
        (["--draws", "3"], "--draws"),
        (["--blind", "none.jsonl"], "none.jsonl"),
        (["--predictions", "none.jsonl"], "none.jsonl"),
        (["--data", "none.jsonl"], "none.jsonl"),
    ],
)
def test_wrong_input_is_one_line(
    command: tuple[str | Path, ...], change: list[str], problem: str, capfd: Capture
) -> None:
    assert problem in refused(vqa_here(capfd, *command, *change))


def test_scoring_loads_neither_torch_nor_pictures(command: tuple[str | Path, ...]) -> None:
    code = (
        "import sys; from vqa.cli import main\n"
        f"try: main({list(map(str, command))!r})\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "print(sorted({'torch', 'transformers', 'PIL.Image'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n"), done.stdout


def test_bad_rows_are_told_and_left_out(
    command: tuple[str | Path, ...], data: Path, capsys: Capture
) -> None:
    whole = json.loads(vqa_here(capsys, *command, "--json").stdout)
    lines = data.read_text().splitlines()
    lines[5:5] = ["{broken", '{"id": "no question", "answer": "x"}']
    data.write_text("\n".join(lines))
    done = vqa_here(capsys, *command, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["score"] == whole["score"]
    assert f"{data}:6: left out: not JSON" in done.stderr
    assert f"{data}:7: left out: question" in done.stderr
    data.write_text("{broken\n")
    assert "not JSON" in refused(vqa_here(capsys, *command))
