"""Wrong input of every kind ends in one line on stderr and exit code 2."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from tests import tiny
from tests.cli.run import ROOT, refused, vqa, vqa_here

Capture = pytest.CaptureFixture[str]


def _huge() -> bytes:
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    return file.getvalue()


def _half() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(file, "JPEG")
    return file.getvalue()[: file.tell() // 2]


PICTURES = {
    "empty.jpg": (lambda: b"", "is empty"),
    "text.jpg": (lambda: b"just some words\n", "is text, not a picture"),
    "half.jpg": (_half, "ends too early"),
    "drawing.svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "SVG"),
    "huge.png": (_huge, "30,000 x 30,000"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_bad_picture(tmp_path: Path, name: str) -> None:
    content, text = PICTURES[name]
    path = tmp_path / name
    path.write_bytes(content())
    cache = tmp_path / "cache"
    message = refused(vqa("ask", path, "What is this?", extra={"VQA_CACHE": str(cache)}))
    assert text in message and str(path) in message
    assert not cache.exists()  # nothing was fetched for a picture that cannot be read


def test_no_such_picture(tmp_path: Path) -> None:
    assert "none.jpg: no such file" in refused(vqa("ask", "none.jpg", "What?", cwd=tmp_path))
    assert "is a directory" in refused(vqa("ask", tmp_path, "What?"))


def test_a_file_name_cannot_break_the_line(tmp_path: Path) -> None:
    name = "a\nb\x1b[31m\udcff.jpg"
    assert "no such file" in refused(vqa("ask", name, "What?", cwd=tmp_path))


@pytest.mark.parametrize("question", ["", "   ", "\n\t"])
def test_empty_question(photo: Path, question: str) -> None:
    assert "question is empty" in refused(vqa("ask", photo, question))


def test_a_question_without_quotes(photo: Path) -> None:
    message = refused(vqa("ask", photo, "What", "animal", "is", "this?"))
    assert "put the question in quotes" in message


def test_a_picture_without_a_question(photo: Path) -> None:
    assert "vqa ask --help" in refused(vqa("ask", photo))


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_a_directory_without_a_model(
    tmp_path: Path, photo: Path, capfd: Capture, command: str
) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ["ask", photo, "What?"] if command == "ask" else ["chat", photo]
    message = refused(vqa_here(capfd, *arguments, "--model", tmp_path / "empty"))
    assert str(tmp_path / "empty") in message and "model" in message


def test_a_model_that_is_no_llava(tmp_path: Path, photo: Path, capfd: Capture) -> None:
    language = tiny.language(tmp_path / "language")
    message = refused(vqa_here(capfd, "ask", photo, "What?", "--model", language))
    assert "not LLaVA" in message


def test_a_model_that_nobody_has(photo: Path, capfd: Capture) -> None:
    assert "no/such-model" in refused(
        vqa_here(capfd, "ask", photo, "What?", "--model", "no/such-model")
    )


def test_a_directory_without_an_adapter(tmp_path: Path, photo: Path, capfd: Capture) -> None:
    model = tiny.llava_1_5(tmp_path / "model")
    message = refused(
        vqa_here(capfd, "ask", photo, "What?", "--model", model, "--adapter", tmp_path)
    )
    assert "adapter" in message


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--quantize", "3bit", "--quantize"),
        ("--max-new-tokens", "0", "--max-new-tokens"),
        ("--temperature", "-1", "--temperature"),
        ("--no-such", "1", "--no-such"),
        ("--dtype", "int3", "--dtype"),
        ("--device", "tpu9", "--device tpu9: not a device"),
    ],
)
def test_bad_option(
    tmp_path: Path, photo: Path, capfd: Capture, option: str, value: str, text: str
) -> None:
    model = tiny.llava_1_5(tmp_path / "model")
    message = refused(vqa_here(capfd, "ask", photo, "What?", "--model", model, option, value))
    assert text in message


def test_a_broken_config_key(capfd: Capture) -> None:
    message = refused(vqa_here(capfd, "train", "finetune", "learning_rat.projector=1"))
    assert "learning_rat: unknown key; did you mean learning_rate?" in message


def test_a_config_that_is_not_there(capfd: Capture) -> None:
    assert "did you mean finetune?" in refused(vqa_here(capfd, "train", "finetun"))


def test_training_without_data_says_so(tmp_path: Path, capfd: Capture) -> None:
    model = tiny.llava_1_5(tmp_path / "model")
    overrides = [f"model={model}", f"output={tmp_path / 'out'}", "device=cpu"]
    assert "data: " in refused(vqa_here(capfd, "train", "finetune", *overrides))


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A directory of a user who has modules of the same names as ours."""
    for name in (
        "app.py",
        "training.py",
        "training/__init__.py",
        "training/run.py",
        "app/server.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('the module of the user was run')\n")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "finetune.yaml").write_text("mine: 1\n")
    (tmp_path / "finetune").mkdir()
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("in_path", [False, True])
def test_modules_of_the_users_change_nothing(crowded: Path, photo: Path, in_path: bool) -> None:
    extra = {"PYTHONPATH": f"{crowded}:{ROOT}"} if in_path else {}
    message = refused(vqa("train", "finetune", "outptu=x", cwd=crowded, extra=extra))
    assert "outptu: unknown key; did you mean output?" in message
    message = refused(vqa("ask", photo, "", cwd=crowded, extra=extra))
    assert "question is empty" in message


@pytest.fixture
def photo(examples: Path) -> Path:
    return examples / "cat.jpg"
