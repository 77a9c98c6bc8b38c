"""`vqa predict` and `vqa merge-predictions` on a tiny random model and generated pictures."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import tiny
from tests.cli.run import environment
from tests.remote.endpoint import Server, answered, failed, serving
from vqa.cli import main


def vqa(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_interleave(tmp_path_factory.mktemp("model"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six rows about three pictures, ids of both types."""
    rows = []
    for i, color in enumerate(("red", "green", "blue")):
        Image.new("RGB", (20, 30), color).save(tmp_path / f"{color}.png")
        for j, key in enumerate((i, f"row {i}")):
            question = ("What is it?", "Which color?")[j]
            answers = [color, f"a {color} thing"]
            rows.append(
                {"id": key, "image": f"{color}.png", "question": question, "answers": answers}
            )
    return write(tmp_path / "data.jsonl", rows)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_predict_twice(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.jsonl"
    command = ("predict", "--data", data, "--model", model, "--max-new-tokens", 3, "--out", out)
    assert vqa(*command) == 0
    rows = read(out)
    assert [row["id"] for row in rows] == [row["id"] for row in read(data)]
    assert all(0 <= row["probability"] <= 1 for row in rows)
    before = out.read_bytes()
    assert vqa(*command) == 0
    assert out.read_bytes() == before
    assert "0 answered, 6 kept" in capsys.readouterr().err
    described = json.loads((tmp_path / "p.jsonl.run.json").read_text())
    assert described["model"] == str(model) and described["backend"] == "local"
    assert described["data"]["sha256"] == hashlib.sha256(data.read_bytes()).hexdigest()
    assert described["settings"]["max_new_tokens"] == 3
    assert described["settings"]["dtype"] in {"bfloat16", "float32"}  # what suits this machine


def test_a_beam_search_is_a_run_of_its_own(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.jsonl"
    command = ("predict", "--data", data, "--model", model, "--max-new-tokens", 5, "--out", out)
    assert vqa(*command) == 0
    greedy = read(out)
    assert vqa(*command, "--num-beams", 3) == 0
    assert "6 answered," in capsys.readouterr().err
    searched = read(out)
    assert [row["id"] for row in searched] == [row["id"] for row in greedy]
    likelier = [b["probability"] > a["probability"] for a, b in zip(greedy, searched, strict=True)]
    assert any(likelier)
    assert vqa(*command, "--num-beams", 3) == 0
    assert "0 answered," in capsys.readouterr().err
    assert vqa(*command, "--num-beams", 3, "--length-penalty", 0.5) == 0
    assert "6 answered," in capsys.readouterr().err
    settings = json.loads((tmp_path / "p.jsonl.run.json").read_text())["settings"]
    assert (settings["num_beams"], settings["length_penalty"]) == (3, 0.5)


def test_other_pictures_give_other_files(data: Path, model: Path, tmp_path: Path) -> None:
    common = ("predict", "--data", data, "--model", model, "--max-new-tokens", 2)
    prints = set()
    for name, flags in {"seen": (), "blind": ("--blind",), "swap": ("--swap",)}.items():
        out = tmp_path / f"{name}.jsonl"
        assert vqa(*common, "--batch-size", 4, *flags, "--out", out) == 0
        assert len(read(out)) == 6
        prints |= {row["fingerprint"] for row in read(out)}
    assert len(prints) == 18


def test_a_broken_picture_ends_with_1_and_loses_nothing(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "green.png").write_text("no picture")
    out = tmp_path / "p.jsonl"
    assert (
        vqa("predict", "--data", data, "--model", model, "--max-new-tokens", 2, "--out", out) == 1
    )
    assert [("error" in row) for row in read(out)] == [False, False, True, True, False, False]
    assert "2 rows could not be answered" in capsys.readouterr().err
    command = ("predict", "--data", data, "--model", model, "--max-new-tokens", 2, "--out", out)
    assert vqa(*command, "--max-errors", 1) == 1
    assert vqa(*command, "--max-errors", 2) == 0
    assert "0 answered, 4 kept from before, 2 errors" in capsys.readouterr().err


def test_bad_rows_are_reported_and_all_others_answered(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = data.read_bytes().splitlines(keepends=True)
    bad = [
        b'{"id": "bad", "image": "red.png"}\n',
        b"not JSON\n",
        b'{"id": 0, "image": "red.png", "question": "Again?"}\n',
        b"\xff\xfe\n",
        b'{"image": "../out.png", "question": "What?"}\n',  # its id is its line, 7
    ]
    data.write_bytes(b"".join([*lines[:2], *bad, *lines[2:]]))
    out = tmp_path / "p.jsonl"
    command = ("predict", "--data", data, "--model", model, "--max-new-tokens", 2, "--out", out)
    assert vqa(*command) == 1
    errors = capsys.readouterr().err
    for line, reason in ((3, "question is"), (4, "not JSON"), (6, "not UTF-8")):
        assert f"data.jsonl:{line}: {reason}" in errors
    assert "data.jsonl:7: image '../out.png' is outside" in errors
    assert "7 answered, 4 errors" in errors
    assert "4 rows could not be answered" in errors and "2 of them" in errors
    rows = {row["id"]: row for row in read(out)}
    assert len(rows) == len(read(out)) == 9
    assert "prediction" in rows["0#2"]
    assert {key for key, row in rows.items() if "error" in row} == {"bad", 7}
    assert "data.jsonl:3: question is missing" in rows["bad"]["error"]
    assert vqa(*command, "--max-errors", 5) == 0


def test_shards_are_merged_in_the_order_of_the_data(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read(data)
    write(data, [*rows[0::2], {"id": "bad"}, *rows[1::2]])
    common = ("predict", "--data", data, "--model", model, "--max-new-tokens", 2)
    common += ("--batch-size", 2, "--max-errors", 1)
    whole, merged = tmp_path / "whole.jsonl", tmp_path / "merged.jsonl"
    shards = [tmp_path / f"{n}.jsonl" for n in (1, 2)]
    assert vqa(*common, "--out", whole) == 0
    assert vqa(*common, "--out", shards[0], "--shard", "1/2") == 0
    merge = ("merge-predictions", *shards, "--data", data, "--out", merged)
    assert vqa(*merge) == 2
    assert vqa(*common, "--out", shards[1], "--shard", "2/2") == 0
    assert vqa(*merge) == 0
    assert "7 rows, 1 errors" in capsys.readouterr().err
    assert [row["id"] for row in read(merged)] == [row["id"] for row in read(data)]
    assert sorted(merged.read_text().splitlines()) == sorted(whole.read_text().splitlines())
    shards[1].write_text("".join(shards[1].read_text().splitlines(keepends=True)[1:]))
    assert vqa(*merge) == 1
    assert "1 rows are in no shard (id " in capsys.readouterr().err


def test_choices_are_scored_by_their_probability(data: Path, model: Path, tmp_path: Path) -> None:
    rows = [row | {"choices": ["red", "green thing", "blue"]} for row in read(data)[:3]]
    write(data, [*rows, {"id": "none", "image": "red.png", "question": "What?"}])
    out = tmp_path / "p.jsonl"
    assert vqa("predict", "--data", data, "--model", model, "--choices", "--out", out) == 1
    by_id = {row["id"]: row for row in read(out)}
    assert "column choices" in by_id.pop("none")["error"]
    for row in by_id.values():
        shares = {choice["text"]: choice["probability"] for choice in row["choices"]}
        assert list(shares) == ["red", "green thing", "blue"]
        assert sum(shares.values()) == pytest.approx(1)
        assert row["probability"] == shares[row["prediction"]] == max(shares.values())


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    import vqa.remote.answerer

    quick = partial(vqa.remote.answerer.RemoteAnswerer, backoff=0.01)
    monkeypatch.setattr(vqa.remote.answerer, "RemoteAnswerer", quick)
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    with serving() as server:
        yield server


def test_an_endpoint_answers(
    data: Path, tmp_path: Path, endpoint: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read(data)
    for i, row in enumerate(rows):
        row["question"] = f"question {i}?"
    write(data, rows)
    endpoint.script = {
        "question 1?": [failed(500), failed(503), answered],
        # more than one: a request whose connection is lost is sent again
        "question 3?": [failed(400, "not this one")] * 4,
    }
    out = tmp_path / "p.jsonl"
    command = ("predict", "--data", data, "--backend", "openai", "--base-url", endpoint.url)
    assert vqa(*command, "--out", out) == 1
    written = read(out)
    assert [row["id"] for row in written] == [row["id"] for row in rows]
    assert written[1]["prediction"].startswith("question 1?")
    assert "not this one" in written[3]["error"] and sum("error" in row for row in written) == 1
    assert "1 rows could not be answered" in capsys.readouterr().err
    assert all(h["Authorization"] == "Bearer a-key" for h in endpoint.request_headers)
    asked = len(endpoint.bodies)
    endpoint.script.clear()
    assert vqa(*command, "--out", out) == 0
    assert len(endpoint.bodies) == asked + 2  # of the batch's other rows one is asked again
    described = json.loads((tmp_path / "p.jsonl.run.json").read_text())
    assert described["backend"] == "openai" and described["model"] == "tiny"
    assert "a-key" not in out.read_text() + json.dumps(described)


def test_an_endpoint_that_goes_away_ends_the_run(
    data: Path, tmp_path: Path, endpoint: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read(data)
    for row in rows[:2]:
        row["question"] = "What first?"
    write(data, rows)
    endpoint.otherwise = failed(500)
    endpoint.script = {"What first?": [answered, answered]}
    out = tmp_path / "p.jsonl"
    command = ("predict", "--data", data, "--backend", "openai", "--base-url", endpoint.url)
    command += ("--concurrency", 2, "--batch-size", 2, "--out", out)
    assert vqa(*command) == 1
    errors = capsys.readouterr().err
    assert "the same command goes on" in errors and errors.count("\n") == 1
    assert ["error" in row for row in read(out)] == [False, False, True, True]
    endpoint.otherwise = answered
    assert vqa(*command) == 0
    assert "4 answered, 2 kept from before" in capsys.readouterr().err


def test_two_processes_write_the_file_of_one(data: Path, model: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    common = ("predict", "--data", data, "--model", model, "--max-new-tokens", 2)
    common += ("--batch-size", 2, "--device", "cpu")
    (tmp_path / "green.png").write_text("no picture")
    assert vqa(*common, "--out", one) == 1
    launch = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu")
    launch += ("--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no")
    launch += ("--dynamo_backend", "no", "--main_process_port", "0", "-m", "vqa")
    part = Path(f"{two}.shard-2-of-2")  # of a run that was killed
    part.write_text("".join(one.read_text().splitlines(keepends=True)[4:]))
    done = subprocess.run(
        [*launch, *map(str, common), "--out", str(two), "--max-errors", "2"],
        env=environment({"ACCELERATE_USE_CPU": "true"}),  # `--cpu` starts one process only
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 answered, 2 errors" in done.stderr
    assert sorted(two.read_text().splitlines()) == sorted(one.read_text().splitlines())
    assert sorted(p.name for p in tmp_path.glob("two*")) == ["two.jsonl", "two.jsonl.run.json"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["predict", "--data", "none.jsonl", "--out", "p.jsonl"], "none.jsonl"),
        (["predict", "--data", "data.jsonl", "--out", "p.jsonl", "--blind", "--swap"], "exclude"),
        (["predict", "--data", "data.jsonl", "--out", "p.jsonl", "--images", "nowhere"], "nowhere"),
        (
            ["predict", "--data", "bad.jsonl", "--out", "p.jsonl"],
            "bad.jsonl:1: question is missing",
        ),
        (["predict", "--data", "empty.jsonl", "--out", "p.jsonl"], "no rows"),
        (["predict", "--data", "data.jsonl"], "--out"),
        (["predict", "--data", "data.jsonl", "--out", "p.jsonl", "--shard", "3/2"], "1/4"),
        (
            ["predict", "--data", "data.jsonl", "--out", "p.jsonl", "--base-url", "http://x"],
            "--backend openai",
        ),
        (
            ["predict", "--data", "data.jsonl", "--out", "p.jsonl", "--backend", "openai"],
            "--base-url",
        ),
        (
            [
                *("predict", "--data", "data.jsonl", "--out", "p.jsonl", "--backend", "openai"),
                *("--base-url", "http://127.0.0.1:9/v1", "--choices"),
            ],
            "--choices needs a model that runs here",
        ),
        (
            [
                *("predict", "--data", "data.jsonl", "--out", "p.jsonl", "--backend", "openai"),
                *("--base-url", "http://127.0.0.1:9/v1", "--num-beams", "3"),
            ],
            "--num-beams is for answers that are written here",
        ),
        (
            [
                *("predict", "--data", "data.jsonl", "--out", "p.jsonl"),
                *("--num-beams", "3", "--choices"),
            ],
            "--num-beams is for answers that are written here",
        ),
        (
            ["predict", "--data", "data.jsonl", "--out", "p.jsonl", "--num-beams", "65"],
            "--num-beams is 65: 1 to 64",
        ),
        (["ask", "red.png", "What?", "--num-beams", "0"], "--num-beams"),
        (
            ["ask", "red.png", "What?", "--num-beams", "2", "--temperature", "0.7"],
            "--num-beams is 2 and --temperature 0.7",
        ),
        (["ask", "red.png", "What?", "--length-penalty", "nan"], "--length-penalty is nan"),
        (["merge-predictions", "none.jsonl", "--data", "data.jsonl", "--out", "p.jsonl"], "none"),
        (["merge-predictions", "data.jsonl", "--data", "data.jsonl", "--out", "p.jsonl"], ":1:"),
    ],
)
def test_wrong_input_is_one_line_and_2(
    arguments: list[str],
    problem: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bad.jsonl", [{"id": 1, "image": "red.png", "answer": "x"}])
    write(tmp_path / "empty.jsonl", [])
    assert vqa(*arguments) == 2
    output = capsys.readouterr()
    assert problem in output.err and output.err.count("\n") == 1 and output.out == ""
    assert not (tmp_path / "p.jsonl").exists()
