"""Every command that reads a folder of pictures says in one line what of it is not read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny
from tests.alignment import tiny as tiny_shared
from tests.cli.run import vqa_here
from tests.inputs.pictures import encoded, picture

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    classes = tmp_path / "classes"
    names = ["cat/a.jpg", "cat/b", "dog/c.avif", "dog/D.JPEG", "cat/indoor/e.jpg"]
    for number, name in enumerate((*names, "cat/._a.jpg", ".DS_Store", "cat/notes.txt")):
        (classes / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "AVIF" if name.endswith("avif") else "PNG"
        content = encoded(picture(64 + number, 32), kind) if number < len(names) else b"words"
        (classes / name).write_bytes(content)
    return classes


def line(folder: Path, plain: bool = False) -> str:
    no_picture = "1 file that is no picture (cat/notes.txt)"
    below = "1 picture in cat/indoor, below that of a class (cat/indoor/e.jpg)"
    return f"{folder}: left out: {no_picture}" + ("" if plain else f"; {below}")


def test_commands_of_data(folder: Path, tmp_path: Path, capfd: Capture) -> None:
    done = vqa_here(capfd, "data", "convert", folder, tmp_path / "out.jsonl")
    assert done.stderr == f"vqa: {line(folder)}\n" and "out.jsonl: 4 rows" in done.stdout
    rows = [json.loads(row) for row in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["image"], row["answer"]) for row in rows] == [
        ("cat/a.jpg", "cat"), ("cat/b", "cat"), ("dog/D.JPEG", "dog"), ("dog/c.avif", "dog"),
    ]  # fmt: skip
    done = vqa_here(capfd, "data", "split", folder, tmp_path / "parts")
    assert done.stderr == f"vqa: {line(folder)}\n" and done.returncode == 0


def test_check_and_training(folder: Path, tmp_path: Path, capfd: Capture) -> None:
    model = tiny.llava_interleave(tmp_path / "model")
    done = vqa_here(capfd, "data", "check", folder, "--model", model, "--no-time")
    assert f"{line(folder)}." in " ".join(done.stdout.split()) and "No problems" in done.stdout
    done = vqa_here(capfd, "data", "check", folder, "--model", model, "--no-time", "--json")
    output = json.loads(done.stdout)
    assert output["rows"] == 4 and output["left_out"] == line(folder).split("out: ")[1].split("; ")
    settings = [f"model={model}", f"data={folder}", f"output={tmp_path / 'run'}", "epochs=1"]
    more = ["row_tokens=256", "rows_per_step=2", "device=cpu", "dtype=float32", "lora.rank=2"]
    done = vqa_here(capfd, "train", "finetune", *settings, *more)
    assert done.returncode == 0 and done.stderr.count(f"vqa: {line(folder)}") == 1, done


def test_predict(folder: Path, tmp_path: Path, capfd: Capture) -> None:
    model = tiny.llava_interleave(tmp_path / "model")
    done = vqa_here(capfd, "predict", "--data", folder, "--model", model, "--out",
                    tmp_path / "out.jsonl", "--max-new-tokens", "1")  # fmt: skip
    assert done.returncode == 0 and done.stderr.count(f"vqa: {line(folder)}") == 1, done
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4


def test_commands_of_the_shared_space(folder: Path, tmp_path: Path, capfd: Capture) -> None:
    clip = tiny_shared.clip(tmp_path / "clip")
    done = vqa_here(capfd, "classify", folder, "--labels", "a,b", "--model", clip, "--json")
    assert done.stderr.startswith(f"vqa: {line(folder, plain=True)}\n"), done
    assert len(json.loads(done.stdout)) == 5
    done = vqa_here(capfd, "search", "index", folder, "--out", tmp_path / "index", "--model", clip)
    assert f"vqa: {line(folder, plain=True)}\n" in done.stderr and "5 pictures" in done.stderr
