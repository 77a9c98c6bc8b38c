"""Every command that answers, with a model of another kind than LLaVA; and what is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from tests import tiny, tiny_vlms
from tests.cli.run import refused, vqa_here
from vqa.answering import SamplingParams
from vqa.chat import Conversation, Worker
from vqa.chat.page_options import ModelChoice
from vqa.loading import load_choice

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlms.write(tmp_path_factory.mktemp("model"), "qwen3_vl")


@pytest.fixture
def photo(examples: Path, tmp_path: Path) -> Path:
    Image.open(examples / "cat.jpg").resize((90, 60)).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


@pytest.fixture
def data(tmp_path: Path, photo: Path) -> Path:
    rows = [
        {"id": n, "image": photo.name, "question": question, "choices": ["yes", "no"],
         "answers": ["yes"]}
        for n, question in enumerate(("Is it a cat?", "Is it red, or blue?", "a <image> cat?"))
    ]  # fmt: skip
    (tmp_path / "data.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path / "data.jsonl"


def test_ask(model: Path, photo: Path, capfd: Capture, tmp_path: Path) -> None:
    common = ["--model", model, "--max-new-tokens", "5", "--device", "cpu"]
    done = vqa_here(capfd, "ask", photo, "What is it?", "--json", *common)
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert answer["model"] == str(model) and 0 < answer["probability"] < 1
    text = vqa_here(capfd, "ask", photo, photo, "What is it?", *common, "--seed", "3")
    assert text.returncode == 0 and text.stdout.endswith("\n")
    out = tmp_path / "why.png"
    explain = ["ask", photo, "What is it?", *common, "--explain", out]
    assert "by occlusion" in refused(vqa_here(capfd, *explain))
    assert vqa_here(capfd, *explain, "--explain-by", "occlusion").returncode == 0
    assert Image.open(out).width > 100


def test_chat(model: Path, photo: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = iter(["What is it?", "And where?", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    done = vqa_here(capfd, "chat", photo, "--model", model, "--max-new-tokens", "4")
    assert done.returncode == 0 and done.stdout.count("(cut off") == 2, done


def test_predict_compare_and_report(
    model: Path, data: Path, capfd: Capture, tmp_path: Path
) -> None:
    out = tmp_path / "a.jsonl"
    predict = ["predict", "--data", data, "--model", model, "--max-new-tokens", "4"]
    assert vqa_here(capfd, *predict, "--out", out).returncode == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == [0, 1, 2] and all("probability" in row for row in rows)
    assert "0 answered, 3" in vqa_here(capfd, *predict, "--out", out).stderr
    chosen = tmp_path / "b.jsonl"
    assert vqa_here(capfd, *predict, "--choices", "--out", chosen).returncode == 0
    rows = [json.loads(line) for line in chosen.read_text().splitlines()]
    assert {row["prediction"] for row in rows} <= {"yes", "no"}
    compared = vqa_here(
        capfd, "compare", model, chosen, "--data", data, "--max-new-tokens", "4", "--out", tmp_path
    )
    assert compared.returncode == 0, compared
    page = tmp_path / "report.html"
    report = ["report", "--data", data, "--predictions", out, "--predictions", chosen]
    assert vqa_here(capfd, *report, "--out", page).returncode == 0 and page.is_file()


def test_the_page_answers_by_it(model: Path, photo: Path) -> None:
    with Worker(load_choice(ModelChoice(str(model), device="cpu"))) as worker:
        request = Conversation().ask("What is it?", [photo]).request(SamplingParams(4))
        assert worker.submit(request).result().new_tokens == 4


def _changed(directory: Path, **changes: Any) -> Path:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return directory


def _adapter(directory: Path, base: Path) -> Path:
    (directory / "config.json").unlink()
    adapter = {"base_model_name_or_path": str(base), "peft_type": "LORA"}
    (directory / "adapter_config.json").write_text(json.dumps(adapter))
    return directory


def _without(directory: Path, name: str) -> Path:
    (directory / name).unlink()
    return directory


def _pickled(directory: Path) -> Path:
    (directory / "model.safetensors").unlink()
    torch.save({}, directory / "pytorch_model.bin")
    return directory


OWN = {"AutoConfig": "configuration_own.Own", "AutoModelForImageTextToText": "modeling_own.Own"}
# how each comes about from a sound model, and what the line says of it
WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a text-only model": (
        lambda d: tiny.language(d.with_name("text"), "qwen3", head_dim=32),
        "this is a qwen3 model, not LLaVA nor another that reads pictures and writes text",
    ),
    "an encoder alone": (
        lambda d: tiny.vision(d.with_name("encoder"), "siglip"),
        "this is a siglip model, not LLaVA nor another that reads pictures",
    ),
    "an architecture newer than the library": (
        lambda d: _changed(d, model_type="qwen9_vl"),
        "does not recognize this architecture",
    ),
    "a part newer than the library": (
        lambda d: _changed(d, model_type="internvl", text_config={"model_type": "qwen9"}),
        "config.json",
    ),
    "a repository that wants remote code": (
        lambda d: _changed(d, model_type="own", auto_map=OWN),
        "no code that comes with a model is run",
    ),
    "an encoder and a decoder": (
        lambda d: _changed(d, model_type="florence2", text_config={}, vision_config={}),
        "reads by an encoder and writes by a decoder",
    ),
    "an adapter on itself": (
        lambda d: _adapter(d, d),
        "no model here",
    ),
    "a config without weights": (
        lambda d: _without(d, "model.safetensors"),
        "cannot load the weights",
    ),
    "weights in a pickle": (_pickled, "cannot load the weights"),
    "a hub that cannot be reached": (
        lambda d: "Qwen/Qwen3-VL-2B-Instruct",
        "no such directory, and no hub could give a model of that name",
    ),
    "no processor": (lambda d: _without(d, "processor_config.json"), "processor files"),
    "no tokenizer": (lambda d: _without(d, "tokenizer.json"), "processor files"),
    "a size that no model has": (
        lambda d: _changed(d, vision_config={"depth": 10**7}),
        "depth is 10000000, which no model has",
    ),
}


@pytest.mark.parametrize("command", ["ask", "predict", "compare", "train"])
@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_answer_is_refused_in_one_line(
    what: str, command: str, model: Path, photo: Path, data: Path, tmp_path: Path, capfd: Capture
) -> None:
    shutil.copytree(model, tmp_path / "model")
    make, line = WRONG[what]
    name = make(tmp_path / "model")
    arguments = {
        "ask": ["ask", photo, "What?", "--model", name],
        "predict": ["predict", "--data", data, "--out", tmp_path / "out.jsonl", "--model", name],
        "compare": ["compare", name, model, "--data", data, "--out", tmp_path],
        "train": ["train", "finetune", f"model={name}", f"data={data}",
                  f"output={tmp_path / 'run'}", "device=cpu"],
    }[command]  # fmt: skip
    if (what, command) == ("an adapter on itself", "train"):
        line = "is an adapter on"
    message = refused(vqa_here(capfd, *arguments))
    assert line in message and str(name) in message, message


def test_read_puts_the_text_of_a_picture_before_the_question(
    model: Path, tmp_path: Path, capfd: Capture
) -> None:
    picture = Image.new("RGB", (320, 80), "white")
    ImageDraw.Draw(picture).text((10, 15), "Exit 42", "black", ImageFont.load_default(size=48))
    picture.save(tmp_path / "sign.png")
    common = ["ask", tmp_path / "sign.png", "What?", "--model", model, "--max-new-tokens", "2"]
    plain, read = (
        json.loads(vqa_here(capfd, *common, "--json", "--read", mode).stdout)
        for mode in ("never", "always")
    )
    assert "42" in read["hints"][0] and "hints" not in plain
    assert read["prompt_tokens"] > plain["prompt_tokens"] + 4


def test_data_is_checked_and_shown_token_by_token(
    model: Path, data: Path, tmp_path: Path, capfd: Capture
) -> None:
    checked = vqa_here(capfd, "data", "check", data, "--model", model)
    assert checked.returncode == 0 and "takes 2048" in checked.stdout, checked
    shown = vqa_here(capfd, "data", "preview", data, "--model", model)
    assert shown.returncode == 0, shown
    lines = shown.stdout.splitlines()
    parts = [line.split()[0] for line in lines[lines.index("") + 1 :]]
    assert parts == ["prompt", "picture", "prompt", "learned"]
    assert "<|image_pad|> x " in shown.stdout and "'<|im_end|>'" in lines[-1]
    assert lines[-1].replace("' '", "").startswith("learned  'yes<|im_end|>")
    out = tmp_path / "out.png"
    refusal = vqa_here(capfd, "data", "preview", data, "--model", model, "--out", out)
    assert "is not LLaVA" in refused(refusal) and not out.exists()


def test_training_and_merging(model: Path, data: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "run"
    steps = ["max_steps=2", "device=cpu", "rows_per_step=1", "learning_rate.language=0.05"]
    common = ["train", "finetune", f"model={model}", f"data={data}", f"output={out}", *steps]
    assert vqa_here(capfd, *common, "--dry-run").returncode == 0 and not out.exists()
    done = vqa_here(capfd, *common)
    assert done.returncode == 0, done
    merged = vqa_here(capfd, "merge", out, tmp_path / "merged")
    assert merged.returncode == 0 and "answers are the same" in merged.stdout, merged
    photo = tmp_path / "cat.png"
    answers = {
        vqa_here(
            capfd, "ask", photo, "Is it a cat?", "--model", name, "--max-new-tokens", "4"
        ).stdout
        for name in (out, tmp_path / "merged")
    }
    assert len(answers) == 1


def test_an_option_that_it_cannot_follow(model: Path, photo: Path, capfd: Capture) -> None:
    common = ["ask", photo, "What?", "--model", model]
    assert "banana" in refused(vqa_here(capfd, *common, "--device", "banana"))
    assert "no adapter here" in refused(vqa_here(capfd, *common, "--adapter", photo.parent))
