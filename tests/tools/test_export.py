"""An exported model answers in plain transformers, on its base and behind a server as it did."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

from tests import tiny
from tests.cli.run import environment, refused, vqa_here
from tests.damage import plant
from tests.disk import REASON, full_beyond
from tests.models.bundled.test_embedded import made, shipped  # noqa: F401
from tests.serve.server import serving
from vqa.loading import load as load_answerer
from vqa.models import checkpoints
from vqa.models.llava import compose

Capture = pytest.CaptureFixture[str]

# what a program does that has transformers and nothing of ours
_PLAIN = """
import sys, torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration
model = LlavaForConditionalGeneration.from_pretrained(sys.argv[1], dtype=torch.float32)
processor = AutoProcessor.from_pretrained(sys.argv[1])
content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
messages = [{"role": "user", "content": content}]
text = processor.apply_chat_template(messages, add_generation_prompt=True)
inputs = processor(images=Image.new("RGB", (50, 40), "red"), text=text, return_tensors="pt")
print(model.generate(**inputs, do_sample=False, max_new_tokens=8)[0].tolist())
assert not any(name.startswith("vqa") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava_1_5(tmp_path_factory.mktemp("exported") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    return tiny.lora(base, base.parent / "adapter")


def names(directory: Path) -> set[str]:
    return {name for file in directory.glob("*.safetensors") for name in load_file(file)}


def plainly(directory: Path) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", _PLAIN, str(directory)],
        env=environment({"PYTHONPATH": ""}), cwd=directory, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ids: list[int] = json.loads(done.stdout.splitlines()[-1])
    return ids


@pytest.mark.parametrize("style", [pytest.param("hub", marks=pytest.mark.slow), "new"])
def test_a_llava_directory_is_proved_and_opens_without_us(
    adapter: Path, tmp_path: Path, capfd: Capture, style: str
) -> None:
    out = tmp_path / "out"
    done = vqa_here(
        capfd, "export", adapter, out, "--names", style, "--verify", "--json", "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["verification"]
    assert report["questions"] == 9 and report["tokens"] >= 9
    assert report["apart"] <= report["allowed"] == 1e-3

    text = "model.language_model." if style == "new" else "language_model.model."
    tower = f"{'model.' * (style == 'new')}vision_tower.vision_model."
    assert {f"{text}norm.weight", f"{tower}embeddings.class_embedding"} <= names(out)
    for name in ("preprocessor_config.json", "chat_template.jinja", "generation_config.json"):
        assert (out / name).is_file()
    config = json.loads((out / "config.json").read_text())
    assert config["torch_dtype"] == config["dtype"] == "float16"
    assert config["text_config"]["rope_theta"] == 10000.0

    whole = checkpoints.load(str(adapter), dtype="float16").model.state_dict()
    plain = LlavaForConditionalGeneration.from_pretrained(out).state_dict()
    assert all(torch.equal(plain[name], value) for name, value in whole.items())
    assert str(tmp_path) not in (out / "config.json").read_text()
    if style == "hub":
        assert len(plainly(out)) > 4


@pytest.mark.parametrize("vision", ["clip", "siglip"])
def test_a_composed_model_gets_the_names_and_settings_of_the_hub(
    tmp_path: Path, capfd: Capture, vision: str
) -> None:
    """transformers 4 would draw its tower at random, and take another base of its positions."""
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    composed = compose(
        tiny.vision(tmp_path / "vision", vision),
        tiny.language(tmp_path / "text", rope_parameters=rope, tie_word_embeddings=True),
    )
    composed.model.save_pretrained(tmp_path / "model")
    composed.processor.save_pretrained(tmp_path / "model")
    out = tmp_path / "out"
    done = vqa_here(capfd, "export", tmp_path / "model", out, "--verify", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "all the same" in done.stdout
    assert "vision_tower.vision_model.embeddings.patch_embedding.weight" in names(out)
    assert not any("lm_head" in name for name in names(out))  # tied
    text = json.loads((out / "config.json").read_text())["text_config"]
    assert text["rope_theta"] == 5e5 and text["rope_scaling"]["factor"] == 8.0
    tokenizer = json.loads((out / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "<image>" in tokenizer["additional_special_tokens"]
    assert "image_processor" not in json.loads((out / "processor_config.json").read_text())


def test_an_adapter_is_clean_and_loads_on_its_base_by_peft_alone(
    base: Path, adapter: Path, tmp_path: Path, capfd: Capture
) -> None:
    from peft import PeftModel

    (adapter / "log.jsonl").write_text("")
    out = tmp_path / "out"
    done = vqa_here(
        capfd, "export", adapter, out, "--format", "adapter", "--verify", "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    assert {file.name for file in out.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors"
    }  # fmt: skip
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base) and None not in config.values()
    plain = LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    merged = PeftModel.from_pretrained(plain, out).merge_and_unload().state_dict()
    whole = checkpoints.load(str(adapter), dtype="float32").model.state_dict()
    assert all(torch.allclose(merged[name], value, atol=1e-6) for name, value in whole.items())


def test_a_planted_weight_is_named(
    base: Path, adapter: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert vqa_here(capfd, "export", adapter, out).returncode == 0
    assert vqa_here(capfd, "verify", adapter, out, "--device", "cpu").returncode == 0
    plant(out, "layers.1.mlp.up_proj", 0.5)
    line = refused(vqa_here(capfd, "verify", adapter, out, "--device", "cpu"), 1)
    assert f"{out}: model.language_model.layers.1.mlp.up_proj.weight is not as in" in line

    # at the time of writing: nothing is left
    save = checkpoints.save

    def damaged(loaded: Any, directory: Path, *more: Any) -> None:
        save(loaded, directory, *more)
        plant(directory, "multi_modal_projector.linear_2.bias", 9.0)

    monkeypatch.setattr(checkpoints, "save", damaged)
    other = tmp_path / "other"
    line = refused(vqa_here(capfd, "export", base, other, "--verify", "--device", "cpu"), 1)
    assert f"{other}: model.multi_modal_projector.linear_2.bias is not as in" in line
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["out"]


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def lose_a_tensor(out: Path) -> None:
    (file,) = out.glob("*.safetensors")
    weights = load_file(file)
    del weights["language_model.model.norm.weight"]
    save_file(weights, file, {"format": "pt"})


@pytest.mark.parametrize(("damage", "says"), [
    (lose_a_tensor, "missing keys of its weights: model.language_model.norm.weight"),
    (lambda out: (out / "preprocessor_config.json").unlink(), "processor files are missing"),
    (lambda out: (out / "chat_template.jinja").write_text(
        "{% for m in messages %}Q {{ '<image>' }} {{ m.content[-1].text }}{% endfor %}"),
     "question 1 ('What is in the picture?') becomes other tokens"),
    (lambda out: change_json(out / "preprocessor_config.json", image_mean=[0.1, 0.9, 0.1]),
     "question 1 ("),
    (lambda out: change_json(out / "generation_config.json", eos_token_id=list(range(448))),
     "token 2 of the answer is none"),
])  # fmt: skip
def test_whatever_else_differs_is_told_by_place(
    base: Path, tmp_path: Path, capfd: Capture, damage: Any, says: str
) -> None:
    out = tmp_path / "out"
    assert vqa_here(capfd, "export", base, out).returncode == 0
    damage(out)
    line = refused(vqa_here(capfd, "verify", base, out, "--device", "cpu"), 1)
    assert f"{out}: " in line and says in line


def test_the_questions_of_a_file_are_asked(base: Path, tmp_path: Path, capfd: Capture) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    rows = [
        {"image": "red.png", "question": "what is <image> here?", "image_places": [8]},
        {"image": "red.png", "question": "what colour?"},
        {"image": ["red.png", "red.png"], "question": "the same?"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = vqa_here(
        capfd, "export", base, tmp_path / "out", "--verify", "--device", "cpu", "--data",
        tmp_path / "rows.jsonl",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 questions" in done.stdout


def test_a_server_of_the_export_is_proved(
    base: Path, adapter: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    out = tmp_path / "out"
    assert vqa_here(capfd, "export", adapter, out).returncode == 0
    with serving({"mine": load_answerer(str(out), device="cpu")}) as url:
        done = vqa_here(capfd, "verify", adapter, f"{url}/v1", "--device", "cpu")
        assert done.returncode == 0, done.stderr
        assert "9 questions" in done.stdout and "log probabilities" in done.stdout
        line = refused(vqa_here(capfd, "verify", base, f"{url}/v1", "--device", "cpu"), 1)
        assert "question 1 ('What is in the picture?'): the answer" in line


def test_what_cannot_be_exported_is_refused_with_what_can_be_done(
    base: Path, adapter: Path, tmp_path: Path, capfd: Capture
) -> None:
    composed = compose(
        tiny.timm_vision(tmp_path / "vision", "resnet18", 64), tiny.language(tmp_path / "text")
    )
    checkpoints.save(
        checkpoints.LoadedModel(composed.model, composed.processor, "", (), ()), tmp_path / "timm"
    )
    line = refused(vqa_here(capfd, "export", tmp_path / "timm", tmp_path / "out"))
    assert "resnet18" in line and f"`vqa serve --model {tmp_path}/timm`" in line
    line = refused(vqa_here(capfd, "export", base, tmp_path / "out", "--format", "adapter"))
    assert "a whole model, not an adapter" in line and "--format llava" in line
    line = refused(
        vqa_here(capfd, "export", adapter, tmp_path / "out", "--format", "adapter", "--dtype",
                 "float32")
    )  # fmt: skip
    assert "leave --names and --dtype out" in line
    broken = shutil.copytree(adapter, tmp_path / "broken")
    (broken / "adapter_model.safetensors").rename(broken / "adapter_model.bin")
    line = refused(vqa_here(capfd, "export", broken, tmp_path / "out", "--format", "adapter"))
    assert "adapter_model.safetensors" in line
    assert not (tmp_path / "out").exists()
    line = refused(vqa_here(capfd, "export", base, tmp_path / "text"))
    assert "is there already" in line
    line = refused(vqa_here(capfd, "verify", base, tmp_path / "none"))
    assert "neither an exported directory nor the URL" in line


def test_the_embedded_model_is_an_adapter_elsewhere(
    shipped: Path,  # noqa: F811
    tmp_path: Path,
    capfd: Capture,
) -> None:
    line = refused(vqa_here(capfd, "export", "embedded", tmp_path / "out"))
    assert "`vqa serve`" in line and "--format adapter" in line and "timm" in line
    out = tmp_path / "adapter"
    done = vqa_here(capfd, "export", "embedded", out, "--format", "adapter", "--verify",
                    "--device", "cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "embedded/base"
    plant(out, "multi_modal_projector.linear_1.weight", 0.5)
    line = refused(vqa_here(capfd, "verify", "embedded", out, "--device", "cpu"), 1)
    assert "model.multi_modal_projector.linear_1.weight is not as in the model" in line


@pytest.mark.slow
@pytest.mark.weights
def test_the_real_embedded_model_is_proved_too(tmp_path: Path, capfd: Capture) -> None:
    done = vqa_here(capfd, "export", "embedded", tmp_path / "out", "--format", "adapter",
                    "--verify", "--device", "cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_full_disk_leaves_nothing(base: Path, tmp_path: Path, capfd: Capture) -> None:
    with full_beyond(50_000):
        line = refused(vqa_here(capfd, "export", base, tmp_path / "out"), 1)
    assert REASON in line and str(tmp_path / "out") in line
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.slow
def test_killed_it_leaves_no_half_directory(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vqa", "export", base, out, "--verify", "--device", "cpu"]
    for seconds in (0.0, 0.05, 0.4):  # after it has begun to write
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
        while not any(path.is_dir() for path in tmp_path.iterdir()):
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not out.exists()
    subprocess.run(command, env=environment(), check=True)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [out]
