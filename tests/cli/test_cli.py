"""The command as a whole: quick help, exit codes, one line for every failure, ask, chat, train."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import vqa.chat
from tests import tiny
from tests.cli.run import ROOT, environment, refused, vqa_here
from tests.cli.run import vqa as run_vqa

LONG = "1500"  # tokens: seconds, even of a tiny model
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that never ends its answer by itself, so that lengths and Ctrl+C can be tested."""
    directory = tiny.llava_1_5(tmp_path_factory.mktemp("model") / "llava")
    end = json.loads((directory / "generation_config.json").read_text())["eos_token_id"]
    for path in directory.glob("*.safetensors"):
        weights = load_file(path)
        for name in weights:
            if name.endswith("lm_head.weight"):
                weights[name][end] = 0  # [vocabulary, D]: some other logit is above zero
        save_file(weights, path, {"format": "pt"})
    return directory


@pytest.fixture
def photo(examples: Path) -> Path:
    return examples / "cat.jpg"


def test_help_is_quick() -> None:
    """Measured in processor time, beside that of the imports that any such help needs."""

    def seconds(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = subprocess.run(command, env=environment(), capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert result.returncode == 0 and result.stderr == ""
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    python = sys.executable
    least = min(seconds(python, "-c", "import typer.rich_utils, rich.traceback") for _ in range(3))
    assert min(seconds(python, "-m", "vqa", "--help") for _ in range(3)) < 4 * least


def test_the_commands_load_no_large_library_before_they_run() -> None:
    large = "torch transformers timm peft bitsandbytes streamlit numpy PIL pydantic"
    code = f"import sys, vqa.cli; print([m for m in {large.split()} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert result.stdout == "[]\n", result


@pytest.mark.parametrize(
    "modules", ["vqa.models.encoders, transformers", "transformers, vqa.models.encoders"]
)
def test_encoders_register_the_vision_tower(tmp_path: Path, modules: str) -> None:
    config = {"model_type": "timm_vision", "backbone": "test_efficientnet", "hidden_size": 256}
    (tmp_path / "config.json").write_text(json.dumps(config | {"image_size": 64}))
    code = (
        f"import {modules}, transformers; tower = transformers.AutoModel.from_config("
        f"transformers.AutoConfig.from_pretrained({str(tmp_path)!r})); print(type(tower).__name__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert result.stdout == "TimmVisionModel\n", result


def test_version_and_usage(capfd: Capture) -> None:
    assert vqa_here(capfd, "--version").stdout == f"vqa {vqa.__version__}\n"
    assert "No such command 'aks'" in refused(vqa_here(capfd, "aks"))
    assert "(see vqa score --help)" in refused(vqa_here(capfd, "score"))
    assert vqa_here(capfd).returncode == 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ZeroDivisionError("two\nlines"), 1, "ZeroDivisionError: two (set VQA_DEBUG=1"),
        (MemoryError(), 1, "MemoryError (set VQA_DEBUG=1"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 1, "/x: No space left on device"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "aa"), 2, "aa: File name too long"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (vqa.errors.VQAError("failed:\nbadly"), 1, "failed: badly"),
        (vqa.errors.InputError("wrong"), 2, "wrong"),
    ],
)
def test_every_failure_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    photo: Path,
    capfd: Capture,
    error: Any,
    code: int,
    message: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(vqa.chat.Conversation, "ask", fail)
    assert refused(vqa_here(capfd, "ask", photo, "What?"), code).startswith(f"vqa: {message}")


def test_debug_shows_the_traceback(photo: Path) -> None:
    result = run_vqa("ask", photo, "", extra={"VQA_DEBUG": "1"})
    assert "Traceback" in result.stderr and "InputError" in result.stderr


def test_a_reader_that_leaves_is_no_failure() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vqa", "models", "list", "--json"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "vqa", "models", "list", "--json"],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (result.returncode, result.stderr) == (
        1,
        "vqa: standard output: No space left on device\n",
    )


def test_ask_prints_the_answer_and_nothing_else(model: Path, photo: Path, capfd: Capture) -> None:
    ask = ("ask", photo, "What is this?", "--model", model, "--max-new-tokens", "5")
    plain = vqa_here(capfd, *ask)
    assert plain.returncode == 0
    output = json.loads(vqa_here(capfd, *ask, "--json").stdout)
    assert plain.stdout == output["answer"] + "\n"
    assert plain.stderr == "vqa: the answer was cut off after 5 tokens (--max-new-tokens)\n"
    assert output["model"] == str(model)
    assert 0 < output["probability"] < 1
    assert output["new_tokens"] == 5 and output["finish"] == "length"
    assert 0 < output["image_tokens"] < output["prompt_tokens"]
    seconds = output["seconds"]
    assert set(seconds) == {"load", "encode", "first_token", "total"}
    assert 0 < seconds["encode"] <= seconds["first_token"] < seconds["total"]
    assert seconds["load"] < seconds["total"]


def test_ask_takes_several_pictures_and_every_option(
    model: Path, examples: Path, capfd: Capture
) -> None:
    ask = ("ask", examples / "cat.jpg", "What is this?", "--model", model, "--json")
    one = json.loads(vqa_here(capfd, *ask).stdout)
    options = ("--max-new-tokens", "3", "--temperature", "1.5", "--dtype", "float32")
    two = (ask[0], examples / "coffee.jpg", *ask[1:], *options, "--device", "cpu")
    several = [json.loads(vqa_here(capfd, *two, "--seed", seed).stdout) for seed in "112"]
    assert [row["image_tokens"] for row in several] == [2 * one["image_tokens"]] * 3
    assert all(row["new_tokens"] <= 3 for row in several)
    assert several[0]["answer"] == several[1]["answer"] != several[2]["answer"]


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_ask_quantized(model: Path, photo: Path, capfd: Capture, bits: str) -> None:
    ask = ("ask", photo, "What?", "--model", model, "--quantize", bits, "--max-new-tokens", "2")
    result = vqa_here(capfd, *ask)
    assert result.returncode == 0 and result.stdout.strip()


def test_chat_answers_line_by_line(
    model: Path, examples: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "What is this?",  # no picture yet
        "/image nothing.jpg",
        f"/image '{examples / 'cat.jpg'}'",
        "What is this?",
        "And now?",
        "/help",
        "/new",
        "What is this?",  # no picture again
        "/quit",
        "never read",
    ]
    typed = iter(lines)
    asked = []
    real = vqa.chat.Worker.submit

    def submit(worker: vqa.chat.Worker, request: Any) -> vqa.chat.Job:
        asked.append([(message.role, len(message.images)) for message in request.messages])
        return real(worker, request)

    monkeypatch.setattr(vqa.chat.Worker, "submit", submit)
    monkeypatch.setattr("builtins.input", lambda _prompt: next(typed))
    result = vqa_here(capfd, "chat", "--model", model, "--max-new-tokens", "20")
    assert result.returncode == 0
    assert next(typed) == "never read"
    assert asked == [[("user", 1)], [("user", 1), ("assistant", 0), ("user", 0)]]
    assert result.stdout.count("Add a picture first") == 2
    assert "451 x 300 pixels" in result.stdout
    assert result.stderr == "nothing.jpg: no such file; check the path.\n"


def test_pictures_that_are_refused_do_not_block_the_chat(
    model: Path, photo: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter([f"/image {photo}", "what?", *[f"/image {photo}"] * 9, "which?", "and now?"])

    def typed(_: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    result = vqa_here(capfd, "chat", "--model", model, "--max-new-tokens", "3")
    assert result.returncode == 0
    assert result.stderr.count("at most 8") == 1  # the last question is answered


def test_ctrl_c_stops_the_answer_and_not_the_chat(model: Path, photo: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vqa", "chat", photo, "--model", model, "--max-new-tokens", LONG],
        env=environment({"PYTHONUNBUFFERED": "1"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    shown = b""

    def wait_for(done: Any) -> None:
        nonlocal shown
        end = time.monotonic() + 120
        while not done():
            assert time.monotonic() < end and process.poll() is None, shown
            shown += process.stdout.read() or b""  # type: ignore[union-attr]
            time.sleep(0.01)

    wait_for(lambda: b"\n> " in shown)
    process.stdin.write(b"What is this?\n")
    process.stdin.flush()
    before = len(shown)
    wait_for(lambda: len(shown) > before + 3)  # the answer has begun
    process.send_signal(signal.SIGINT)
    wait_for(lambda: b"(stopped)\n> " in shown)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: b"/quit ends.\n> " in shown)
    process.stdin.write(b"/quit\n")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == b""


def test_train_then_ask_the_run(tmp_path: Path, model: Path, photo: Path, capfd: Capture) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    row = {"id": "1", "image": "red.png", "question": "What colour is it?", "answer": "red"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    overrides = [f"model={model}", f"data={tmp_path / 'rows.jsonl'}", f"output={tmp_path / 'run'}"]
    more = ["epochs=2", "row_tokens=128", "rows_per_step=1", "device=cpu", "dtype=float32"]
    trained = vqa_here(capfd, "train", "finetune", *overrides, *more, "lora.rank=2")
    assert trained.returncode == 0, trained
    adapter = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert adapter["r"] == 2
    ask = ("ask", photo, "What?", "--max-new-tokens", "2", "--json")
    output = json.loads(vqa_here(capfd, *ask, "--model", tmp_path / "run").stdout)
    assert output["model"] == str(tmp_path / "run")
    same = vqa_here(capfd, *ask, "--model", model, "--adapter", tmp_path / "run")
    assert json.loads(same.stdout)["answer"] == output["answer"]


def test_the_readme_names_only_commands_and_options_that_exist(capfd: Capture) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"(?<!from )(?<!--model )\bvqa ((?:models |data )?[a-z-]+)([^`\n]*)", text)
    for command, rest in named:
        shown = vqa_here(capfd, *command.split(), "--help")
        assert shown.returncode == 0, command
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in shown.stdout, (command, option)
    assert {command for command, _ in named} >= {
        "ask", "chat", "app", "models fetch", "train", "predict", "merge-predictions", "score",
        "compare", "report", "data build",
    }  # fmt: skip


def test_the_ci_runs_the_readmes_own_test_command() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    pattern = re.search(r"grep -E '(.*)' README\.md", (ROOT / ".ci" / "run").read_text())
    assert pattern is not None
    matches = [line for line in lines if re.search(pattern[1], line)]
    assert len(matches) == 1 and matches[0].endswith(".venv/bin/pytest -n auto")
