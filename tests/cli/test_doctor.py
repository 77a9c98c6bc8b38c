"""The command `vqa doctor`: facts of the machine, and a picture's way into a model."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests import tiny
from tests.cli.run import refused, vqa_here
from vqa.tools import machine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_1_5(tmp_path_factory.mktemp("doctor") / "model")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture on its side, as a camera writes it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (80, 40), (200, 30, 30))
    image.save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path / "photo.jpg"


def facts_of(capsys: Any, *arguments: str | Path) -> Any:
    done = vqa_here(capsys, "doctor", *arguments, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_machine(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "not" / "there"))
    facts = facts_of(capsys)
    assert facts["versions"]["torch"] == version("torch")
    assert facts["versions"]["Python"] == platform.python_version()
    assert facts["devices"]["chosen"] == "cpu"
    room = facts["memory and disk"]
    assert room["cache"] == f"{tmp_path}/not/there, can be written"
    assert room["free disk of the cache"].endswith(" GB")
    assert facts["models"]["embedded"].startswith("embedded, ")
    works = facts["works here"]
    assert works["bfloat16"].startswith("yes")
    assert works["quantize 4bit"] == works["quantize 8bit"] == "yes"
    if not torch.cuda.is_available():
        assert works["flash attention"] == "no: it needs a CUDA device"
    assert not (tmp_path / "not").exists()  # to look changes nothing
    done = vqa_here(capsys, "doctor", "--device", "cpu")
    assert f"  torch: {version('torch')}\n" in done.stdout and "works here:\n" in done.stdout


def test_what_is_missing_or_fails_is_a_line(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setitem(machine._EXTRAS, "no-such-package", "video")
    monkeypatch.setattr(machine, "_SIDE", 0)  # which layers of 8 bits do not take
    facts = facts_of(capsys)
    assert "cannot be written: set VQA_CACHE" in facts["memory and disk"]["cache"]
    assert facts["versions"]["no-such-package"] == "not installed: pip install 'vqa[video]'"
    assert facts["works here"]["quantize 8bit"] == "no: integer division or modulo by zero"
    assert refused(vqa_here(capsys, "doctor", "--device", "cuda:99")).startswith("vqa: --device")


def test_a_picture_on_its_way(capsys: Any, model: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "view.png"
    facts = facts_of(capsys, photo, "--model", model, "--dtype", "float32", "--view", out)[
        "picture"
    ]
    assert facts["as it is opened"] == "40 x 80 pixels"  # upright
    view = Image.open(out)
    assert facts["as the vision encoder gets it"] == f"{view.width} x {view.height} pixels"
    centre = view.getpixel((view.width // 2, view.height // 2))
    assert isinstance(centre, tuple)
    assert all(abs(a - b) < 12 for a, b in zip(centre, (200, 30, 30), strict=True))
    assert int(facts["as the language model gets it"].split()[0]) > 1
    assert facts["computed in"] == "float32 on cpu"


def test_what_cannot_be_examined_is_refused(capsys: Any, model: Path, photo: Path) -> None:
    for arguments, says in (
        (["--view", "x.png"], "name the picture"),
        ([photo, "--view", photo], "is one of the files that are read"),
        ([photo, "--view", photo.parent], "is a directory"),
        (["none.jpg", "--model", model], "none.jpg"),
        ([model / "config.json", "--model", model], "config.json"),
        ([photo, "--model", "no-model"], "no-model"),
    ):
        assert says in refused(vqa_here(capsys, "doctor", *arguments))
