"""Saved, loaded, refused; and the commands that take such a directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.cli.run import refused, vqa_here
from tests.fusion.conftest import ANSWERS
from vqa import loading
from vqa.answering import Request
from vqa.chat.page_options import ModelChoice
from vqa.errors import InputError
from vqa.fusion import storage
from vqa.fusion.answer_vocabulary import AnswerVocabulary
from vqa.fusion.answerer import FusionAnswerer
from vqa.fusion.config import FusionConfig
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.models import checkpoints
from vqa.models.model_files import is_fusion


@pytest.fixture
def copy(directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(directory, tmp_path / "run"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (30, 30), "red").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_loaded_is_what_was_saved(directory, copy):
    one, two = (storage.load(str(path), "cpu") for path in (directory, copy))
    assert one.fingerprint == two.fingerprint and one.answers.texts == ANSWERS
    weights = load_file(copy / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, copy / "model.safetensors")
    assert storage.load(str(copy), "cpu").fingerprint != one.fingerprint
    edit(copy / "config.json", answer_temperature=7.0)
    save_file(weights, copy / "model.safetensors")
    assert storage.load(str(copy), "cpu").fingerprint != one.fingerprint  # probabilities differ
    assert is_fusion(copy) and not is_fusion(copy.parent) and not is_fusion("embedded")


@pytest.mark.parametrize(
    ("kind", "side"), [("clip", 2), ("siglip", 2), ("dinov2", 2), ("timm", 3), ("stages", 3)]
)
def test_it_stands_on_any_encoder(directory, tmp_path, photo, kind, side):
    if kind in ("timm", "stages"):
        stages = (1, 2) if kind == "stages" else ()
        vision = tiny.timm_vision(tmp_path / "v", "test_efficientnet", 96, stages)
    else:
        vision = tiny.vision(tmp_path / "v", kind)
    language = json.loads((directory / "config.json").read_text())["language"]
    parts = storage.open_parts(str(vision), language)
    config = FusionConfig(vision=str(vision), language=language, hidden_size=16, heads=2)
    model = storage.build(parts, AnswerVocabulary(ANSWERS), config)
    (tmp_path / "run").mkdir()
    storage.save(model, AnswerVocabulary(ANSWERS), parts.fingerprints, tmp_path / "run")
    answerer = FusionAnswerer(storage.load(str(tmp_path / "run"), "cpu"))
    request = Request((Message("user", "What?", (load_image(photo),)),))
    assert answerer.answer([request])[0].text in ANSWERS
    assert answerer.attention_map(request).shape == (side, side)


def test_another_part_is_refused(copy, tmp_path):
    for kind, name in (("vision", "v"), ("language", "l")):
        part = Path(json.loads((copy / "vqa.json").read_text())["parts"][kind]["name"])
        changed = Path(shutil.copytree(part, tmp_path / name))
        weights = load_file(changed / "model.safetensors")
        first = "model.embed_tokens.weight" if kind == "language" else next(iter(weights))
        weights[first] = weights[first] + 1
        save_file(weights, changed / "model.safetensors", {"format": "pt"})
        old = json.loads((copy / "config.json").read_text())[kind]
        edit(copy / "config.json", **{kind: str(changed)})
        with pytest.raises(InputError, match=f"was trained on the {kind} part .*but what is here"):
            storage.load(str(copy), "cpu")
        edit(copy / "config.json", **{kind: old})


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("answers.json", "{}", "a list of texts"),
        ("answers.json", '["yes", "no"]', "cannot be loaded"),
        ("answers.json", "[", "cannot be read as JSON"),
        ("vqa.json", "{}", "was trained on the vision part None"),
        ("vqa.json", "[]", "was trained on the vision part None"),
        ("model.safetensors", "torn", "cannot be loaded"),
        ("config.json", '{"model_type": "vqa_fusion", "vision": "/nowhere"}', "no vision encoder"),
    ],
)
def test_a_broken_directory_is_one_line(copy, photo, capsys, file, content, message):
    (copy / file).write_text(content)
    line = refused(vqa_here(capsys, "ask", photo, "What is it?", "--model", copy))
    assert message in line


def test_weights_of_another_size_are_refused(copy):
    weights = load_file(copy / "model.safetensors")
    weights.pop("model.answer_token")
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(InputError, match=r"has not what config\.json says"):
        storage.load(str(copy), "cpu")
    edit(copy / "config.json", heads=7)
    with pytest.raises(InputError, match="cannot be loaded"):
        storage.load(str(copy), "cpu")
    edit(copy / "config.json", hidden_size=64)
    with pytest.raises(InputError, match="cannot be loaded"):
        storage.load(str(copy), "cpu")


def test_ask_prints_an_answer_and_its_probability(directory, photo, capsys):
    done = vqa_here(capsys, "ask", photo, "What is it?", "--model", directory, "--json")
    answer = json.loads(done.stdout)
    assert answer["answer"] in ANSWERS and 0 < answer["probability"] <= 1
    assert (
        vqa_here(capsys, "ask", photo, "What is it?", "--model", directory).stdout.strip()
        == (answer["answer"])
    )


@pytest.mark.parametrize(
    "options", [("--adapter", "x"), ("--quantize", "4bit"), ("--dtype", "bfloat16")]
)
def test_options_of_language_models_are_refused(directory, photo, capsys, options):
    line = refused(vqa_here(capsys, "ask", photo, "What?", "--model", directory, *options))
    assert options[0] in line and "fusion model" in line


def test_predict_writes_answers_and_errors_and_goes_on(directory, photo, tmp_path, capsys):
    rows = [{"id": n, "image": "photo.png", "question": f"What {n}?"} for n in range(3)]
    rows.append({"id": "two", "images": ["photo.png"] * 2, "question": "Which?"})
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    command = ("predict", "--data", data, "--model", directory, "--out", out)
    assert vqa_here(capsys, *command).returncode == 1
    predictions = {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert all(predictions[n]["prediction"] in ANSWERS for n in range(3))
    assert "one picture at a time" in predictions["two"]["error"]
    assert vqa_here(capsys, *command, "--max-errors", "1").returncode == 0


def test_predict_scores_choices(directory, photo, tmp_path, capsys):
    row = {"id": 1, "image": "photo.png", "question": "What?", "choices": ["zebra", "red", "blue"]}
    data, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    data.write_text(json.dumps(row) + "\n")
    done = vqa_here(capsys, "predict", "--data", data, "--model", directory, "--out", out,
                    "--choices")  # fmt: skip
    assert done.returncode == 0, done.stderr
    scored = json.loads(out.read_text())
    assert scored["choices"][0] == {"text": "zebra", "probability": 0.0}
    assert abs(sum(choice["probability"] for choice in scored["choices"]) - 1) < 1e-6


def test_models_knows_what_it_is(directory, capsys):
    info = json.loads(vqa_here(capsys, "models", "info", directory, "--json").stdout)
    assert info["kind"] == "fusion" and info["base"]["parts"]["vision"]["fingerprint"]
    names = {module["name"]: module["kind"] for module in info["modules"]}
    assert names == {"multi_modal_projector": "MLP", "fusion_layers": "co-attention",
                     "classifier": "5 answers"}  # fmt: skip
    weights = load_file(directory / "model.safetensors")
    assert info["parameters"] == sum(value.numel() for value in weights.values())
    assert not any(value.dtype != torch.float32 for value in weights.values())


def test_the_page_takes_it_and_refuses_an_adapter_on_it(directory, tmp_path, capsys):
    choice = ModelChoice(str(directory), device="cpu")
    assert isinstance(loading.load_choice(choice), FusionAnswerer)
    (tmp_path / "adapter_config.json").write_text("{}")
    line = refused(vqa_here(capsys, "app", "--model", directory, "--adapter", tmp_path))
    assert "fusion model" in line


def test_the_list_of_models_has_it(directory, capsys, monkeypatch):
    monkeypatch.chdir(directory.parent)
    listed = json.loads(vqa_here(capsys, "models", "--json").stdout)["models"]
    assert {"name": "run", "kind": "fusion"}.items() <= next(
        entry for entry in listed if entry["name"] == "run"
    ).items()


def test_what_takes_llava_alone_says_so(directory):
    with pytest.raises(InputError, match="this is a fusion model"):
        checkpoints.load(str(directory))
