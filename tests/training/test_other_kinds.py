"""Fine-tuning models of any architecture: tiny ones with random weights, in the layout of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from tests import tiny_vlms
from tests.training.conftest import Config
from tests.vlm_architectures import ARCHITECTURES
from tests.vlm_checks import noise
from tests.vlm_training import (
    FAST,
    ask,
    conversation,
    learns_and_merges,
    train,
    train_killed,
    write_rows,
)
from training.common.views import WHOLE
from training.run import run
from training.sft.conversations import row_losses
from training.sft.finetune import shorten_module_path
from training.sft.image_text_recipe import ImageTextRecipe
from training.sft.settings import FinetuneSettings
from training.sft.trainer import SftTrainer
from vqa.errors import InputError
from vqa.models import image_text
from vqa.models.llava import freeze
from vqa.models.submodules import submodules
from vqa.tools.merge import merge

# the others are of the same families
FIRST = (
    "llava_next", "llava_onevision", "vipllava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm",
    "idefics3", "internvl", "gemma3", "paligemma", "mistral3", "llava", "mllama",
)  # fmt: skip
KINDS = [name for name in ARCHITECTURES if name in FIRST]
# of each way to lay out picture tokens one, in the plain run
_QUICK = ("llava_next", "qwen2_vl", "smolvlm", "gemma3")
_WHOLE = [name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]


@pytest.fixture(scope="module")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The tiny model of an architecture, written once."""
    folder = tmp_path_factory.mktemp("bases")

    def get(name: str) -> Path:
        directory = folder / name
        return directory if directory.exists() else tiny_vlms.write(directory, name)

    return get


@pytest.fixture
def start(tmp_path: Path, base_of: Callable[[str], Path]) -> Callable[..., Path]:
    """Train a kind of model, into the directory of a name."""
    return lambda kind, name="run", **changes: train(
        kind, base_of(kind), tmp_path / name, **changes
    )


@pytest.mark.parametrize("kind", _WHOLE)
def test_a_kind_learns_goes_on_merges_and_answers(
    kind: str, tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    learns_and_merges(kind, base_of(kind), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_row_is_that_of_transformers_on_each_conversation(
    kind: str, tmp_path: Path, start: Callable[..., Path], base_of: Callable[[str], Path]
) -> None:
    data = write_rows(tmp_path, kind)
    settings = FinetuneSettings(
        recipe="finetune", model=str(base_of(kind)), data=data, output=tmp_path / "run",
        device="cpu", dtype="float32", row_tokens=4096, epochs=1, validation={"share": 0},
    )  # fmt: skip
    recipe = ImageTextRecipe(settings)
    plan = recipe.plan()
    model = recipe.build(plan)
    rows = recipe.row_maker(plan, model)(plan.tokens, plan.groups, plan.layout, lambda index: WHOLE)
    assert len(rows) == 1 and len(plan.train_rows) == len(data.read_text().splitlines())
    with torch.no_grad():
        losses, weights = row_losses(model.train(), model, rows[0])
        total = 0.0
        for number in range(len(plan.train_rows)):
            alone = rows._parts([rows._open(number, 0)])  # type: ignore[attr-defined]
            (part,) = alone
            labels = torch.full_like(part["inputs"]["input_ids"], -100)
            columns = part["predict_from"][:, 1]
            labels[0, columns + 1] = part["targets"]
            mean = float(model(**part["inputs"], labels=labels, use_cache=False).loss)
            total += mean * len(columns) ** 0.5
    assert float((losses * weights).sum()) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("kind", ["qwen3_vl", "smolvlm", "gemma3"])
@pytest.mark.parametrize(
    ("learns", "expected"),
    [
        ({}, {"language", "projector"}),
        ({"projector": False}, {"language"}),
        ({"vision": True}, {"language", "projector", "vision"}),
        ({"language": "full"}, {"language", "projector"}),
        ({"language": "frozen"}, {"projector"}),
    ],
)
def test_what_is_set_to_learn_learns_and_nothing_else(
    kind: str, learns: dict[str, Any], expected: set[str], start: Callable[..., Path],
    base_of: Callable[[str], Path],
) -> None:  # fmt: skip
    out = start(kind, train=learns, max_steps=2, validation={"share": 0})
    before = image_text.load(str(base_of(kind)), device="cpu").model
    parts, state = submodules(before), before.state_dict()
    after = image_text.load(str(out), device="cpu").model.state_dict()
    changed = [name for name in state if not torch.equal(state[name], after[name])]

    def part_of(name: str) -> str:
        if any(name.startswith(f"{path}.") for path in parts.projector):
            return "projector"
        return "vision" if name.startswith(f"{parts.vision}.") else "language"

    assert {part_of(name) for name in changed} == expected
    assert (out / "adapter_config.json").is_file() == (learns.get("language", "lora") == "lora")


@pytest.mark.parametrize("language", ["lora", "frozen"])
def test_a_projector_inside_the_encoder_has_its_own_rate(
    language: str, tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    values = {"recipe": "finetune", "model": str(base_of("qwen3_vl")), "output": tmp_path / "run",
              "device": "cpu", "train": {"language": language, "vision": True}}  # fmt: skip
    recipe = ImageTextRecipe(FinetuneSettings.model_validate(values))
    model = recipe.loaded.model
    trained = recipe.set_trainable(model, recipe.settings)

    class Trainer(SftTrainer):
        unwrapped = model

        def __init__(self) -> None:
            pass

    learns = [name for name, each in trained.named_parameters() if each.requires_grad]
    modules = {name: Trainer().module_of(name) for name in learns}
    assert {modules[name] for name in learns if ".merger." in name} == {"projector"}
    others = {modules[name] for name in learns if "visual" in name and "merger" not in name}
    assert others == {"vision"}


def test_a_part_is_told_from_one_whose_name_ends_alike() -> None:
    """MiniCPM-V has a `merger` beside the encoder and a `vit_merger` in it."""
    names = ["model", "model.vision_tower", "model.vision_tower.vit_merger", "model.merger"]
    assert shorten_module_path("model.merger", names) == "model.merger"
    assert shorten_module_path("model.vision_tower", names) == "vision_tower"
    model = nn.ModuleDict({"vit_merger": nn.Linear(1, 1), "merger": nn.Linear(1, 1)})
    freeze(model, trainable=("merger",))
    assert {name for name, each in model.named_parameters() if each.requires_grad} == {
        "merger.weight", "merger.bias"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "lora", "left"),
    [
        ("qwen3_vl", {}, ""),
        ("lfm2_vl", {}, "in_proj, out_proj, w1, w2, w3"),
        ("lfm2_vl", {"layers": ["w1", "w2", "w3", "in_proj"]}, "k_proj, out_proj, q_proj, v_proj"),
    ],
)
def test_linear_layers_that_get_no_lora_are_named(
    kind: str, lora: dict[str, Any], left: str, tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    values = {
        "recipe": "finetune", "model": str(base_of(kind)), "output": tmp_path / "run",
        "lora": lora, "data": write_rows(tmp_path, kind),
    }  # fmt: skip
    recipe = ImageTextRecipe(FinetuneSettings.model_validate(values))
    lines = " ".join(recipe.remarks(recipe.plan()))
    assert f"layers {left} get no LoRA" in lines if left else not lines


@pytest.mark.parametrize("kind", ["qwen2_vl", "idefics3"])
def test_qlora(kind: str, tmp_path: Path, start: Callable[..., Path]) -> None:
    out = start(kind, quantize="4bit", train={"projector": False})
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert any("eval_loss" in entry for entry in log)
    adapter = load_file(out / "adapter_model.safetensors")
    assert any(bool(value.any()) for key, value in adapter.items() if "lora_B" in key)
    assert merge(str(out), tmp_path / "merged").quantize == "4bit"
    ask(out, tmp_path / "0.png", quantize="4bit")


@pytest.mark.parametrize("language", ["lora", "full"])
def test_an_unfinished_run_answers_whatever_learns(
    language: str, tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    out, base = tmp_path / "run", base_of("internvl")
    train_killed("internvl", base, out, train={"language": language})
    with pytest.warns(UserWarning, match="not finished"):
        texts = ask(out, tmp_path / "0.png")
    assert texts != ask(base, tmp_path / "0.png")


def test_it_goes_on_from_an_adapter(tmp_path: Path, start: Callable[..., Path]) -> None:
    first = start("gemma3", "first")
    slow = dict.fromkeys(FAST, 1e-9)
    second = start("gemma3", "second", adapter=str(first), learning_rate=slow)
    one, two = (load_file(out / "adapter_model.safetensors") for out in (first, second))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[key], two[key], atol=1e-6) for key in one)
    with pytest.raises(InputError, match="trained with r=16, not 8"):
        start("gemma3", "third", adapter=str(first), lora={"rank": 8})
    with pytest.raises(InputError, match="is an adapter on"):
        start("gemma3", "fourth", model=first)


def test_views_checkpointing_and_bfloat16(start: Callable[..., Path]) -> None:
    augment = {"views": 3, "mirror": True}
    out = start("qwen2_5_vl", augment=augment, gradient_checkpointing=True, dtype="bfloat16")
    assert json.loads((out / "run.json").read_text())["finished"]
    adapter = load_file(out / "adapter_model.safetensors")
    assert {value.dtype for value in adapter.values()} == {torch.bfloat16}


def test_a_finished_run_keeps_the_settings_of_its_model(
    start: Callable[..., Path], base_of: Callable[[str], Path]
) -> None:
    base = base_of("llava_onevision")
    settings = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps(settings | {"top_k": 7}))
    out = start("llava_onevision", train={"language": "full"})
    assert json.loads((out / "generation_config.json").read_text())["top_k"] == 7


def test_rows_that_it_cannot_take_are_all_named(tmp_path: Path, start: Callable[..., Path]) -> None:
    data = write_rows(tmp_path, "qwen3_vl")
    Image.new("RGB", (40, 40)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    system = conversation(["1.png"], "what is it?", "a cat")
    system["messages"].insert(0, {"role": "system", "content": "You answer."})
    rows = [
        system,
        conversation(["cut.png"], "what is it?", "a cat"),
        conversation(["2.png"], "why? " * 2000, "a cat"),
    ]
    with data.open("a") as file:
        file.write("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(InputError) as error:
        start("mllama")
    message = str(error.value)
    assert "\n" not in message and "3 bad rows" in message, message
    out = start("mllama", skip_bad=True)
    skipped = json.loads((out / "run.json").read_text())["skipped"]
    assert skipped["rows"] == 3
    reasons = json.dumps(skipped)
    assert "incompatible with system messages" in reasons and "the model takes 2048" in reasons


def test_tokens_are_made_again_where_a_picture_has_another_size(
    tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    data = write_rows(tmp_path, "qwen3_vl")

    def longest() -> int:
        settings = FinetuneSettings(
            recipe="finetune", model=str(base_of("qwen3_vl")), data=data, output=tmp_path / "run",
            device="cpu", validation={"share": 0},
        )  # fmt: skip
        return int(ImageTextRecipe(settings).plan().groups.tokens.max())

    before = longest()
    noise(300, 300, 1).save(tmp_path / "0.png")
    assert longest() > before


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"hints": {}}, "hints: of LLaVA models alone"),
        ({"questions_per_visit": 2}, "questions_per_visit: of LLaVA models alone"),
        ({"projector_start": "words"}, "projector_start: of LLaVA models alone"),
        ({"torch_compile": True}, "torch_compile: of LLaVA models alone"),
        ({"lora": {"layers": ["no_such"]}}, "match nothing in the language model"),
    ],
)
def test_a_setting_that_it_cannot_follow(
    changes: dict[str, Any], line: str, start: Callable[..., Path]
) -> None:
    with pytest.raises(InputError, match=line) as error:
        start("qwen3_vl", **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_tells_memory_and_time(
    kind: str, tmp_path: Path, base_of: Callable[[str], Path], config: Config,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = write_rows(tmp_path, kind)
    out = tmp_path / "run"
    path = config(recipe="finetune", model=base_of(kind), data=data, output=out)
    run(path, dry_run=True)
    shown, modules = capsys.readouterr()
    assert "memory at its peak" in shown and "on this machine" in shown and "frozen" in modules
    assert not out.exists()
