"""No home, or no cache, that can be written: commands that need none work, others say it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import tiny
from tests.cli.run import environment, refused, vqa_here

VARIABLES = ("HOME", "TMPDIR", "VQA_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_1_5(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place that nobody can make, the superuser neither."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "place"


@pytest.mark.parametrize("name", VARIABLES)
def test_a_model_of_a_directory_answers_without(
    model: Path, photo: Path, nowhere: Path, name: str, capfd: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv(name, str(nowhere))
    done = vqa_here(capfd, "ask", "--model", model, photo, "What?", "--max-new-tokens", "2")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done
    assert vqa_here(capfd, "models").returncode == 0


@pytest.mark.parametrize("command", ["ask", "fetch"])
@pytest.mark.parametrize("name", ["HOME", "VQA_CACHE", "XDG_CACHE_HOME"])
def test_what_is_kept_in_the_cache_says_how_to_move_it(
    photo: Path, nowhere: Path, command: str, name: str, capfd: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv(name, str(nowhere))
    arguments = {"ask": ("ask", photo, "What?"), "fetch": ("models", "fetch")}[command]
    line = refused(vqa_here(capfd, *arguments))
    assert line.startswith(f"vqa: Cannot make {nowhere}"), line
    assert "Not a directory (set VQA_CACHE to a directory that can be written)." in line


def test_a_training_says_it_too(
    model: Path, photo: Path, nowhere: Path, tmp_path: Path, capfd: Any, monkeypatch: Any
) -> None:
    row = {"id": 1, "image": "photo.png", "question": "What?", "answer": "red"}
    (tmp_path / "train.jsonl").write_text((json.dumps(row) + "\n") * 2)
    values = {"recipe": "finetune", "model": str(model), "data": str(tmp_path / "train.jsonl"),
              "output": str(tmp_path / "run"), "device": "cpu", "max_steps": 1}  # fmt: skip
    (tmp_path / "run.yaml").write_text(json.dumps(values))
    monkeypatch.setenv("VQA_CACHE", str(nowhere))
    done = vqa_here(capfd, "train", tmp_path / "run.yaml")
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("vqa: ") and str(nowhere) in last and "set VQA_CACHE" in last


@pytest.mark.parametrize("name", ["HOME", "XDG_DATA_HOME"])
def test_the_page_says_that_conversations_need_a_place(
    model: Path, nowhere: Path, name: str, capfd: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv(name, str(nowhere))
    line = refused(vqa_here(capfd, "app", "--model", model, "--port", "8597"))
    assert str(nowhere) in line and "cannot be made" in line and "--history" in line


_ANOTHER = ("unshare", "--user", "--map-user=54321")


def _can_be_another() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_ANOTHER, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not _can_be_another(), reason="this system lets nobody be another user")
@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (("models", "fetch"), "VQA_CACHE"),
        (("ask", "photo.png", "What?"), "VQA_CACHE"),
        (("data", "export-feedback", "out"), "XDG_DATA_HOME"),
    ],
)
def test_a_user_without_a_home(
    photo: Path, nowhere: Path, arguments: tuple[str, ...], variable: str
) -> None:
    """As containers have them: a number that no name belongs to. Nothing is made in `~`."""
    before = sorted(photo.parent.iterdir())
    done = subprocess.run(
        [*_ANOTHER, sys.executable, "-m", "vqa", *arguments],
        cwd=photo.parent, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert f"this user has no home directory: set HOME or {variable}" in refused(done)
    assert sorted(photo.parent.iterdir()) == before
