"""No code that lies in a model's directory is run, whatever its files ask for and stdin answers."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests import tiny
from tests.cli.run import ROOT, refused, vqa, vqa_here
from vqa.errors import InputError
from vqa.fusion.token_embeddings import load_token_embeddings
from vqa.models import checkpoints
from vqa.models.llava import compose, load_vision

YES = "y\n" * 50
CANARY = (
    "import pathlib\npathlib.Path(__file__).resolve()\n"
    "pathlib.Path({mark!r}).write_text('ran')\n"
    "from transformers import {base}\n"
    "class Own({base}):\n    model_type = 'own'\n    config_class = None\n"
)


def _change(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(value | changes), encoding="utf-8")


def _plant(directory: Path, mark: Path) -> None:
    for name, base in (
        ("configuration_own", "PreTrainedConfig"),
        ("modeling_own", "LlavaForConditionalGeneration"),
        ("tokenization_own", "PreTrainedTokenizerFast"),
        ("processing_own", "LlavaProcessor"),
        ("image_processing_own", "CLIPImageProcessor"),
    ):
        code = CANARY.format(mark=str(mark), base=base)
        (directory / f"{name}.py").write_text(code)
    (directory / "custom_generate").mkdir()
    generate = CANARY.format(mark=str(mark), base="GenerationConfig")
    (directory / "custom_generate" / "generate.py").write_text(f"{generate}\ngenerate = Own\n")
    (directory / "conftest.py").write_text(CANARY.format(mark=str(mark), base="GenerationConfig"))


MODEL = {
    "AutoConfig": "configuration_own.Own",
    "AutoModel": "modeling_own.Own",
    "AutoModelForCausalLM": "modeling_own.Own",
    "AutoModelForImageTextToText": "modeling_own.Own",
}
TOKENIZER = {"AutoTokenizer": ["tokenization_own.Own", "tokenization_own.Own"]}
PROCESSOR = {
    "AutoProcessor": "processing_own.Own",
    "AutoImageProcessor": "image_processing_own.Own",
    "AutoTokenizer": ["tokenization_own.Own", None],
    "AutoVideoProcessor": "processing_own.Own",
}


def _own_type(d: Path) -> None:
    _change(d / "config.json", model_type="own", auto_map=MODEL)


def _own_text(d: Path) -> None:
    config = json.loads((d / "config.json").read_text(encoding="utf-8"))
    text = config["text_config"] | {"model_type": "own", "auto_map": MODEL}
    _change(d / "config.json", text_config=text)


def _own_tokenizer(d: Path) -> None:
    _change(d / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=TOKENIZER)


def _own_image_processor(d: Path) -> None:
    _change(d / "preprocessor_config.json", image_processor_type="Own", auto_map=PROCESSOR)


def _all(d: Path) -> None:
    _change(d / "config.json", auto_map=MODEL)
    _change(d / "tokenizer_config.json", auto_map=TOKENIZER)
    _change(d / "preprocessor_config.json", auto_map=PROCESSOR)
    _change(d / "processor_config.json", auto_map=PROCESSOR, processor_class="Own")
    _change(d / "generation_config.json", custom_generate="custom_generate", auto_map=MODEL)


PLANTED = {
    "config": _own_type,
    "text config": _own_text,
    "tokenizer": _own_tokenizer,
    "image processor": _own_image_processor,
    "all, of a known type": _all,
}


def _asked(directory: Path) -> list[str]:
    photo = directory.parent / "photo.png"
    Image.new("RGB", (40, 30), "red").save(photo)
    return ["ask", "--model", str(directory), str(photo), "what?"]


@pytest.mark.parametrize("where", PLANTED)
def test_the_command_runs_no_code_of_a_model(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    mark = tmp_path / "mark"
    directory = tiny.llava_1_5(tmp_path / "m", shards=1)
    _plant(directory, mark)
    PLANTED[where](directory)
    monkeypatch.setattr("sys.stdin", io.StringIO(YES))
    monkeypatch.chdir(directory)
    done = vqa_here(capsys, *_asked(directory))
    assert not mark.exists()
    assert "[y/N]" not in done.stdout + done.stderr
    # where transformers has a class of its own it takes that
    if done.returncode or where in ("config", "text config", "image processor"):
        refused(done)


@pytest.mark.slow
def test_a_shell_that_says_yes_to_everything_runs_no_code(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    directory = tiny.llava_1_5(tmp_path / "m", shards=1)
    _plant(directory, mark)
    _own_type(directory)
    done = vqa(*_asked(directory), stdin=YES, cwd=directory, extra={"HF_HOME": str(tmp_path)})
    assert "no code that comes with a model is run" in refused(done)
    assert not mark.exists()


def test_no_other_door_runs_code_of_a_model(tmp_path: Path, monkeypatch: Any) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    made: dict[str, tuple[Path, Callable[[Path], Any]]] = {
        "vision": (tiny.vision(tmp_path / "v", "clip"), lambda d: load_vision(str(d))),
        "language": (
            tiny.language(tmp_path / "l"),
            lambda d: compose(str(tmp_path / "v0"), str(d)),
        ),
        "words": (tiny.language(tmp_path / "w"), load_token_embeddings),
        "shared": (tiny.vision(tmp_path / "s", "siglip"), lambda d: _shared(str(d))),
    }
    tiny.vision(tmp_path / "v0", "vit")
    for directory, load in made.values():
        _plant(directory, mark)
        for file, changes in (
            ("config.json", {"model_type": "own", "auto_map": MODEL}),
            ("preprocessor_config.json", {"image_processor_type": "Own", "auto_map": PROCESSOR}),
            ("tokenizer_config.json", {"tokenizer_class": "Own", "auto_map": TOKENIZER}),
        ):
            if not (directory / file).exists():
                continue
            before = (directory / file).read_text(encoding="utf-8")
            _change(directory / file, **changes)
            try:
                load(directory)
            except InputError as error:  # else transformers has a class of its own for it
                assert "\n" not in str(error)
            (directory / file).write_text(before, encoding="utf-8")
    assert not mark.exists()


def _shared(name: str) -> Any:
    from vqa.alignment.loading import load

    return load(name, "cpu")


def test_an_adapter_imports_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    base = tiny.llava_1_5(tmp_path / "b", shards=1)
    adapter = tiny.lora(base, tmp_path / "a")
    mark = tmp_path / "mark"
    (tmp_path / "canary.py").write_text(f"open({str(mark)!r}, 'w')\n")
    (tmp_path / "megatron").mkdir()
    shutil.copy(tmp_path / "canary.py", tmp_path / "megatron" / "core.py")
    monkeypatch.syspath_prepend(tmp_path)
    config = (adapter / "adapter_config.json").read_text(encoding="utf-8")
    for changes in (
        {"megatron_core": "canary", "megatron_config": {"a": 1}},
        {"megatron_core": "megatron.core", "megatron_config": {"a": 1}},
        {"auto_mapping": {"base_model_class": "Own", "parent_library": "canary"}},
        {"peft_type": "canary.Own"},
        {
            "peft_type": "PROMPT_TUNING", "prompt_tuning_init": "TEXT", "num_virtual_tokens": 2,
            "prompt_tuning_init_text": "a", "tokenizer_name_or_path": str(tmp_path),
            "tokenizer_kwargs": {"trust_remote_code": True}, "inference_mode": False,
        },
    ):  # fmt: skip
        _change(adapter / "adapter_config.json", **changes)
        try:
            checkpoints.load(str(base), adapter=str(adapter))
        except InputError as error:
            assert "\n" not in str(error)
        assert not mark.exists()
        (adapter / "adapter_config.json").write_text(config, encoding="utf-8")


class _Run:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (self.mark, "w")


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt"])
def test_no_pickle_of_an_adapter_is_read(name: str, tmp_path: Path) -> None:
    base = tiny.llava_1_5(tmp_path / "b", shards=1)
    adapter = tiny.lora(base, tmp_path / "a")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"a": _Run(str(tmp_path / "mark"))}, adapter / name)
    with pytest.raises(InputError, match=r"adapter_model\.safetensors is missing"):
        checkpoints.load(str(base), adapter=str(adapter))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["x.bin", "/tmp/x.PKL", "v.pt"])
def test_no_pickle_of_a_tokenizer_is_read(name: str, tmp_path: Path) -> None:
    directory = tiny.llava_1_5(tmp_path / "m", shards=1)
    _change(directory / "tokenizer_config.json", vocab_file=name)
    with pytest.raises(InputError, match="vocab_file names a pickle"):
        checkpoints.load(str(directory))


@pytest.mark.parametrize(
    "place",
    ["/etc/passwd", "../other/model-00001-of-00002.safetensors", "..", "a/b.safetensors", "",
     "..\\x.safetensors", "x\0.safetensors", "model.bin", "\ud800.safetensors"],
)  # fmt: skip
def test_weights_are_taken_from_the_models_directory_alone(place: str, tmp_path: Path) -> None:
    directory = tiny.llava_1_5(tmp_path / "m", shards=2)
    shutil.copytree(directory, tmp_path / "other")
    index = directory / "model.safetensors.index.json"
    weights = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    _change(index, weight_map=weights | {next(iter(weights)): place})
    with pytest.raises(InputError, match=r"is no safetensors file beside it|cannot be read"):
        checkpoints.load(str(directory))


def test_a_link_out_of_the_directory_is_no_weight_but_the_hubs_own(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--a--b" / "snapshots" / "1"
    tiny.llava_1_5(snapshot, shards=2)
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(snapshot.glob("*.safetensors"))):
        file.rename(blobs / str(number))
        file.symlink_to(os.path.relpath(blobs / str(number), snapshot))
    checkpoints.load(str(snapshot))
    elsewhere = tmp_path / "m"
    shutil.copytree(snapshot, elsewhere, symlinks=True)
    for number, file in enumerate(sorted(elsewhere.glob("*.safetensors"))):
        file.unlink()
        file.symlink_to(blobs / str(number))
    with pytest.raises(InputError, match="a link out of the model's directory"):
        checkpoints.load(str(elsewhere))


LOADERS = {"from_pretrained", "load_dataset", "pipeline", "load_adapter", "load_custom_generate",
           "get_class_from_dynamic_module", "from_config"}  # fmt: skip
DOORS = {"load_pretrained", "partial"}


def _sources() -> Iterator[Path]:
    for folder in ("vqa", "training", "app", "benchmarks"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _faults(source: str) -> list[str]:
    """Calls in Python source that could load code of a model, an adapter or a data set."""
    tree = ast.parse(source)
    handed = {
        id(argument)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _name(call.func) in DOORS
        for argument in call.args
    }
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            options = {word.arg: word.value for word in node.keywords}
            trust = options.get("trust_remote_code")
            off = isinstance(trust, ast.Constant) and trust.value is False
            if trust is not None and not off:
                faults.append(f"{node.lineno}: trust_remote_code")
            if _name(node.func) == "from_config" and off:
                handed.add(id(node.func))
            if ast.unparse(node.func) == "torch.load":
                only = options.get("weights_only")
                if not (isinstance(only, ast.Constant) and only.value is True):
                    faults.append(f"{node.lineno}: torch.load")
            if _name(node.func) == "create_model" and not _is_timms(node, source):
                faults.append(f"{node.lineno}: create_model")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and _name(node) in LOADERS:
            if id(node) not in handed:
                faults.append(f"{node.lineno}: {_name(node)}")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names}
            names.add(getattr(node, "module", None) or "")
            bad = names & {"pickle", "dill", "joblib", "cloudpickle", "AutoPeftModel", "pipeline"}
            faults += [f"{node.lineno}: {name}" for name in bad]
    return faults


def _is_timms(call: ast.Call, source: str) -> bool:
    """Whether a name for timm stands in the source itself, or timm was asked for it before.

    Names such as `hf-hub:...` are none of `timm.is_model`, and only they lead out of timm.
    """
    name = call.args[0] if call.args else None
    if isinstance(name, ast.Name):
        return (
            f"timm.is_model({name.id})" in source
            or f"{name.id}, image_size, stages = _BACK" in source
        )
    return isinstance(name, ast.Constant)


def test_no_call_that_could_load_code_goes_another_way() -> None:
    faults = {
        str(path.relative_to(ROOT)): faults
        for path in _sources()
        if (faults := _faults(path.read_text(encoding="utf-8")))
    }
    assert faults == {}


@pytest.mark.parametrize(
    "source",
    [
        "AutoModel.from_pretrained('x')",
        "f = AutoModel.from_pretrained",
        "datasets.load_dataset('x')",
        "from datasets import load_dataset\nload_dataset('x')",
        "load_pretrained(AutoModel.from_pretrained, 'x', trust_remote_code=True)",
        "load_pretrained(AutoModel.from_pretrained, 'x', trust_remote_code=flag)",
        "AutoModel.from_config(config)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "import pickle",
        "timm.create_model(name)",
        "timm.create_model(config.backbone)",
        "transformers.pipeline('x')",
    ],
)
def test_the_check_of_the_source_sees_such_calls(source: str) -> None:
    assert _faults(source)


def test_timm_takes_no_name_that_leads_out_of_it(tmp_path: Path) -> None:
    directory = tiny.timm_vision(tmp_path / "v", "test_efficientnet", 64)
    for backbone in ("hf-hub:a/b", "hf_hub:a/b", f"local-dir:{tmp_path}", "timm/resnet18", ""):
        with pytest.raises(InputError, match=r"timm has no backbone named|give the size in pixels"):
            load_vision(f"timm:{backbone}")
        _change(directory / "config.json", backbone=backbone)
        with pytest.raises(InputError, match="timm has no backbone named"):
            load_vision(str(directory))
