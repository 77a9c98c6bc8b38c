"""What learns under each setting, and that nothing else moves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.tiny import llava_1_5
from training.common.processes import device_of, join_processes
from training.run import run
from training.sft.finetune import FinetuneRecipe
from training.sft.settings import FinetuneSettings, SftSettings
from vqa.errors import InputError
from vqa.models import checkpoints
from vqa.models.llava import compose, module_report
from vqa.utils.config import load_config

FAST = {"projector": 0.01, "language": 0.01, "vision": 0.01}
NO_VALIDATION = {"share": 0}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The modules of which some tensor is not bit by bit what it was."""
    assert set(before) == set(after)
    parts = ("vision_tower", "multi_modal_projector", "language_model", "lm_head")
    changed = [name for name in after if not torch.equal(before[name], after[name])]
    return {part for part in parts for name in changed if part in name}


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({"language": "lora"}, {"multi_modal_projector", "language_model"}),
        ({"language": "lora", "projector": False}, {"language_model"}),
        ({"language": "lora", "vision": True},
         {"multi_modal_projector", "language_model", "vision_tower"}),
        ({"language": "full"}, {"multi_modal_projector", "language_model", "lm_head"}),
        ({"language": "frozen"}, {"multi_modal_projector"}),
        ({"language": "frozen", "projector": False, "vision": True}, {"vision_tower"}),
    ],
)  # fmt: skip
def test_what_is_set_to_learn_learns_and_nothing_else(tmp_path, data, config, train, expected):
    base = llava_1_5(tmp_path / "base")
    before = checkpoints.load(str(base), dtype="float32").model.state_dict()
    out = tmp_path / "run"
    run(config(recipe="finetune", model=base, data=data, output=out, max_steps=2, train=train,
               learning_rate=FAST, validation=NO_VALIDATION))  # fmt: skip
    loaded = checkpoints.load(str(out), dtype="float32")
    assert moved(before, loaded.model.state_dict()) == expected
    assert (out / "adapter_config.json").is_file() == (train["language"] == "lora")


def test_what_learns_under_lora_is_counted_once(tmp_path):
    """peft keeps a copy of each module that learns as a whole."""
    values = {"recipe": "finetune", "model": str(llava_1_5(tmp_path / "base")), "device": "cpu",
              "output": str(tmp_path / "run"), "train": {"vision": True}}  # fmt: skip
    recipe = FinetuneRecipe(FinetuneSettings.model_validate(values))
    model = recipe.loaded.model
    before = {part.name: part for part in module_report(model)}
    recipe.set_trainable(model, recipe.settings)
    after = {part.name: part for part in module_report(model)}
    assert before.keys() == after.keys()
    for name in ("vision_tower", "multi_modal_projector"):
        assert after[name].parameters == before[name].parameters
        assert after[name].kind == before[name].kind
    projector = after["multi_modal_projector"]
    assert projector.trainable == projector.parameters


@pytest.mark.parametrize("language", ["frozen", "full"])
def test_a_model_is_saved_in_its_own_type(tmp_path, data, config, language):
    half, out = tmp_path / "half", tmp_path / "run"
    checkpoints.save(checkpoints.load(str(llava_1_5(tmp_path / "m")), dtype="bfloat16"), half)
    run(config(recipe="finetune", model=half, data=data, output=out, max_steps=1, dtype="bfloat16",
               train={"language": language, "vision": True}, validation=NO_VALIDATION))  # fmt: skip
    stored = load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


def test_a_run_is_used_from_another_directory(tmp_path, data, config, monkeypatch):
    llava_1_5(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    run(config(recipe="finetune", model="base", data=data, output=Path("run"), max_steps=1,
               validation=NO_VALIDATION))  # fmt: skip
    monkeypatch.chdir("/")
    assert checkpoints.load(str(tmp_path / "run")).sources[0] == str(tmp_path / "base")


@pytest.mark.parametrize("kind", ["dora", "rslora"])
def test_relatives_of_lora_load_as_they_were_trained(tmp_path, data, config, kind):
    base, out = llava_1_5(tmp_path / "base"), tmp_path / "run"
    run(config(recipe="finetune", model=base, data=data, output=out, max_steps=2,
               lora={"kind": kind}, learning_rate=FAST, validation=NO_VALIDATION))  # fmt: skip
    adapter = json.loads((out / "adapter_config.json").read_text())
    assert (adapter["use_dora"], adapter["use_rslora"]) == (kind == "dora", kind == "rslora")
    assert any("magnitude" in key for key in load_file(out / "adapter_model.safetensors")) == (
        kind == "dora"
    )
    assert checkpoints.load(str(out)).name == str(out)


def test_the_names_of_peft_are_taken_too(tmp_path):
    def lora(**section):
        values = {"recipe": "finetune", "model": "m", "output": tmp_path, "lora": section}
        return FinetuneSettings.model_validate(values).lora

    section = {"r": 8, "lora_alpha": 24, "lora_dropout": 0.1, "target_modules": ["q_proj"]}
    own = {"rank": 8, "alpha": 24, "dropout": 0.1, "layers": ["q_proj"]}
    assert lora(**section) == lora(**own)
    assert lora(use_dora=True) == lora(kind="dora")
    assert lora(use_rslora=True, use_dora=False) == lora(kind="rslora")
    assert lora(use_rslora=False, use_dora=False) == lora()
    assert lora(kind="lora", use_dora=True) == lora(kind="dora") == lora(kind="dora", use_dora=True)
    names = ["lora.r=4", "lora.target_modules=[v_proj]", "lora.use_dora=true", "model=m"]
    shipped = load_config(FinetuneSettings, "finetune", [*names, f"output={tmp_path}"]).lora
    assert (shipped.rank, shipped.layers, shipped.kind) == (4, ("v_proj",), "dora")
    assert set(lora(**section).model_dump()) == {*own, "kind"}  # as run.json has them


def test_an_adapter_goes_on_with_its_own_layers_alone(tmp_path, data, config):
    base, out = llava_1_5(tmp_path / "base"), tmp_path / "run"
    values = {"recipe": "finetune", "model": base, "data": data, "max_steps": 1,
              "validation": NO_VALIDATION}  # fmt: skip
    run(config(**values, output=out, lora={"layers": ["q_proj"]}))
    more = {**values, "output": tmp_path / "more", "adapter": out}
    with pytest.raises(InputError, match=r"lora\.layers .*q_proj.*v_proj.*as they were then"):
        run(config(**more, lora={"layers": ["q_proj", "v_proj"]}))
    run(config(**more, lora={"layers": ["q_proj"]}))


def test_layers_that_are_not_linear_get_no_lora(tmp_path, data, config, monkeypatch):
    monkeypatch.setattr(FinetuneRecipe, "row_maker", None)  # it is refused before any features
    with pytest.raises(InputError, match=r"\['input_layernorm'\] are not linear; it has .*q_proj"):
        run(config(recipe="finetune", model=llava_1_5(tmp_path / "base"), data=data,
                   output=tmp_path / "run", lora={"layers": ["q_proj", "input_layernorm"]},
                   validation=NO_VALIDATION))  # fmt: skip


def test_an_output_that_is_a_file_is_refused_at_once(tmp_path, data, config):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(InputError, match=r"output=.*run is a file: give a directory"):
        run(config(recipe="finetune", model="none", data=data, output=tmp_path / "run"))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"rank": 8, "r": 8}, "rank and r are one setting"),
        ({"use_dora": True, "use_rslora": True}, "give one of them"),
        ({"kind": "rslora", "use_dora": True}, "give one of them"),
        ({"kind": "dora", "use_dora": False}, "give one of them"),
        ({"use_dora": "maybe"}, "true or false"),
        ({"r": 0}, r"lora\.r: .*greater than or equal to 1"),
        ({"lora_rank": 8}, r"lora\.lora_rank: unknown key"),
        ({"bias": "none"}, r"lora\.bias: unknown key"),
    ],
)
def test_wrong_names_of_lora_are_refused(tmp_path, data, config, section, message):
    values = {"recipe": "finetune", "model": "x", "data": data, "output": tmp_path / "run"}
    with pytest.raises(InputError, match=message):
        run(config(**values, lora=section))


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantized_language_models_learn_under_lora(tmp_path, data, config, bits):
    base, out = llava_1_5(tmp_path / "base"), tmp_path / "run"
    run(config(recipe="finetune", model=base, data=data, output=out, max_steps=3, quantize=bits,
               learning_rate=FAST, validation=NO_VALIDATION))  # fmt: skip
    losses = [json.loads(line).get("loss") for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [loss for loss in losses if loss is not None]
    assert losses[-1] < losses[0]
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert settings["quantize"] == bits
    loaded = checkpoints.load(str(out), quantize=bits)
    quantized = {
        name for name, module in loaded.model.named_modules()
        if type(module).__module__.startswith("peft.tuners.lora.bnb")
    }  # fmt: skip
    layers = loaded.model.config.text_config.num_hidden_layers
    names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    names += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    assert quantized == {
        f"model.language_model.layers.{layer}.{name}" for layer in range(layers) for name in names
    }


def test_a_validation_takes_no_gradient_from_quantized_layers(tmp_path, data, config):
    base = llava_1_5(tmp_path / "base")
    settings = load_config(FinetuneSettings, config(
        recipe="finetune", model=base, data=data, output=tmp_path / "run", quantize="4bit"
    ))  # fmt: skip
    text = FinetuneRecipe(settings).loaded.model.model.language_model
    embeds = torch.randn(1, 5, text.config.hidden_size, requires_grad=True)

    def gradient() -> torch.Tensor:
        text.train()
        (grad,) = torch.autograd.grad(
            text(inputs_embeds=embeds).last_hidden_state.square().sum(), embeds
        )
        return grad

    before = gradient()
    with torch.no_grad():  # the kernels that are taken here have no way back on some CPUs
        text.eval()(inputs_embeds=embeds.detach())
    assert torch.allclose(before, gradient(), rtol=1e-3)


def test_the_statistics_of_an_encoder_that_learns_do_not_move(tmp_path, data, config):
    tower = tiny.timm_vision(tmp_path / "v", "test_efficientnet", 96, (1,))
    composed = compose(tower, tiny.language(tmp_path / "l"))
    base, out = tmp_path / "base", tmp_path / "run"
    composed.model.save_pretrained(base)
    composed.processor.save_pretrained(base)
    run(config(recipe="finetune", model=base, data=data, output=out, max_steps=2,
               train={"vision": True}, learning_rate=FAST, validation=NO_VALIDATION))  # fmt: skip
    before = composed.model.state_dict()
    after = checkpoints.load(str(out), dtype="float32").model.state_dict()
    statistics = [name for name in before if "running_" in name or "num_batches" in name]
    assert statistics and all(torch.equal(before[name], after[name]) for name in statistics)
    assert "vision_tower" in moved(before, after)


_COMPILED = pytest.param(
    {"torch_compile": True, "rows_at_once": 2},
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(shutil.which("g++") is None, reason="nothing can be compiled here"),
    ],
)


@pytest.mark.parametrize(
    "change",
    [{"attention": "eager"}, {"gradient_checkpointing": True}, {"rows_at_once": 2}, _COMPILED],
)
def test_attention_checkpointing_batches_and_compiling_change_no_loss(
    tmp_path, data, config, change
):
    base = llava_1_5(tmp_path / "base")
    logs = []
    validation = {"share": 0.3, "every": 2, "metric": "exact_match", "max_new_tokens": 4}
    for name, more in (("plain", {}), ("other", change)):
        run(config(recipe="finetune", model=base, data=data, output=tmp_path / name, max_steps=3,
                   learning_rate=FAST, validation=validation, **more))  # fmt: skip
        log = map(json.loads, (tmp_path / name / "log.jsonl").read_text().splitlines())
        logs.append([value for entry in log for key, value in entry.items() if "loss" in key])
    assert logs[0] and logs[0] == pytest.approx(logs[1], abs=1e-4)


def test_rows_at_once_part_a_step(tmp_path, data, config):
    base = llava_1_5(tmp_path / "base")
    with pytest.raises(InputError, match="rows_at_once=4 does not part the 2 rows of a step"):
        run(config(recipe="finetune", model=base, data=data, output=tmp_path / "run",
                   rows_at_once=4, validation=NO_VALIDATION))  # fmt: skip


def test_compiling_wants_a_compiler(tmp_path, data, config, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "none")
    base = llava_1_5(tmp_path / "base")
    with pytest.raises(InputError, match="needs a C\\+\\+ compiler"):
        run(config(recipe="finetune", model=base, data=data, output=tmp_path / "run",
                   torch_compile=True, validation=NO_VALIDATION))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": "flash_attention_2"}, "attention"),
        ({"train": {"language": "frozen", "projector": False}}, "nothing would learn"),
        ({"train": {"language": "full"}, "quantize": "4bit"}, "quantized weights cannot learn"),
        ({"train": {"language": "frozen"}, "quantize": "4bit"}, "quantized weights cannot learn"),
        ({"train": {"projector": False}, "projector_start": "words"}, "set train.projector"),
        ({"train": {"vision": True}, "projector_start": "words"}, "needs a frozen encoder"),
        ({"device": "cuda:1"}, "device"),
        pytest.param(
            {"device": "mps"},
            "not a device of this machine",
            marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="it is one here"),
        ),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"epochs": float("inf")}, "epochs"),
        ({"repeat": {"x": -1}}, r"repeat\.x"),
        ({"repeat": {"x": float("inf")}}, r"repeat\.x"),
        ({"loggers": ["nonsense"]}, "not a logger that is installed"),
        ({"validation": {"metric": "exactmatch"}}, "did you mean 'exact_match'"),
        ({"lora": {"kind": "dorra"}}, "lora.kind"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, data, config, change, message):
    values = {"recipe": "finetune", "model": "x", "data": data, "output": tmp_path / "run"}
    with pytest.raises(InputError, match=message) as error:
        run(config(**values, **change))
    assert "\n" not in str(error.value)


def test_rows_without_pictures_need_nothing_else_that_learns(tmp_path, data, config):
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows = [row | {"image": [], "id": 100 + row["id"]} for row in rows]
    data.write_text(data.read_text() + "".join(json.dumps(row) + "\n" for row in rows))
    train = {"language": "frozen", "projector": False, "vision": True}
    run(config(recipe="finetune", model=tiny.llava_1_5(tmp_path / "base"), data=data, train=train,
               output=tmp_path / "run", max_steps=6, rows_per_step=1, row_tokens=64,
               learning_rate=FAST, validation=NO_VALIDATION))  # fmt: skip
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_device_that_is_not_here_is_not_exchanged_for_another(monkeypatch):
    missing = "mps" if torch.cuda.is_available() else "cuda"
    settings = SftSettings(output=Path("run"), device=missing)
    with pytest.raises(InputError, match="not a device of this machine"):  # of a dry run, too
        device_of(settings)
    monkeypatch.setattr("training.common.processes.device_named", lambda _: torch.device(missing))
    with pytest.raises(InputError, match=f"device={missing}: the processes of this run are on"):
        join_processes(settings)


def test_a_seed_gives_the_same_first_layers(tmp_path):
    settings = FinetuneSettings(recipe="finetune", model="m", output=tmp_path)
    states = []
    for _ in range(2):
        model = checkpoints.load(str(llava_1_5(tmp_path / f"{len(states)}")), dtype="float32").model
        torch.manual_seed(0)
        state = FinetuneRecipe(settings).set_trainable(model, settings).state_dict()
        states.append({name: value for name, value in state.items() if "lora_A" in name})
    assert states[0] and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
