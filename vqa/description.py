"""What is in a model: its modules, parameters, types and licence, told from its files alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqa import embedded, parts
from vqa.errors import InputError
from vqa.fusion import MODEL_TYPE
from vqa.inventory import hub_snapshots, read_json, size_on_disk
from vqa.tensors import StoredTensor, stored_tensors

_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}


@dataclass(frozen=True)
class Module:
    """One part of a model as it lies on disk."""

    name: str
    kind: str
    parameters: int | None  # None where the file is not here yet
    dtype: str
    bytes: int
    licence: str | None = None


@dataclass(frozen=True)
class Description:
    """A model as it lies on disk. `base` is what an adapter belongs to, with its fingerprint."""

    name: str
    kind: str
    directory: str | None
    architecture: str | None
    parameters: int | None
    bytes: int
    licence: str | None
    modules: Sequence[Module]
    base: dict[str, Any] | None = None


def describe(name: str) -> Description:
    """Describe `embedded`, a directory, or a model in the hub's cache; InputError for no model."""
    if name == "embedded":
        return _describe_embedded()
    directory = Path(name)
    if not directory.is_dir():
        directory = hub_snapshots().get(name, directory)
    if (directory / "adapter_config.json").is_file():
        return _describe_adapter(name, directory)
    return _describe_model(name, directory)


def _describe_model(name: str, directory: Path) -> Description:
    if not (directory / "config.json").is_file():
        raise InputError(
            f"{name}: no model here (a model's directory has config.json, an adapter's "
            "adapter_config.json); `vqa models` lists what can be loaded"
        )
    config = read_json(directory / "config.json")
    model_type = str(config.get("model_type"))
    modules = _modules(directory, config)
    return Description(
        name=name,
        kind={"llava": "LLaVA", MODEL_TYPE: "fusion"}.get(model_type, model_type),
        directory=str(directory.absolute()),
        architecture=next(iter(config.get("architectures") or []), None),
        parameters=sum(module.parameters or 0 for module in modules) or None,
        bytes=size_on_disk(directory),
        licence=_licence(directory),
        modules=modules,
        base=read_json(directory / "vqa.json") if model_type == MODEL_TYPE else None,
    )


def _describe_adapter(name: str, directory: Path) -> Description:
    config = read_json(directory / "adapter_config.json")
    modules = _modules(directory, {})
    base = {"base": config.get("base_model_name_or_path")}
    if (directory / "vqa.json").is_file():
        base |= read_json(directory / "vqa.json")
    return Description(
        name=name,
        kind="adapter",
        directory=str(directory.absolute()),
        architecture=f"{config.get('peft_type')}, rank {config.get('r')}",
        parameters=sum(module.parameters or 0 for module in modules) or None,
        bytes=size_on_disk(directory),
        licence=_licence(directory),
        modules=modules,
        base=base,
    )


def _describe_embedded() -> Description:
    """The embedded model, or its parts as long as it has not been put together."""
    vision, language = parts.default_parts()
    licence = embedded.WEIGHTS_LICENCE if embedded.has_weights() else language.licence
    if embedded.has_weights() and embedded.model_path().is_dir():
        found = _describe_model("embedded", embedded.model_path())
        licences = {"vision_tower": vision.licence, "language_model": language.licence}
        modules = [replace(m, licence=licences.get(m.name, licence)) for m in found.modules]
        return replace(found, kind="embedded", licence=licence, modules=modules)
    modules = [_part_module(part) for part in (vision, language)]
    return Description(
        name="embedded",
        kind="embedded",
        directory=None,
        architecture="LlavaForConditionalGeneration",
        parameters=None,
        bytes=0,
        licence=licence,
        modules=modules,
    )


def _part_module(part: parts.Part) -> Module:
    directory = parts.converted_path(part)
    if not directory.is_dir():
        kind = f"{part.about}; to fetch"
        return Module(part.kind, kind, None, "", part.wheel.size, part.licence)
    count, dtype, size = _sums(stored_tensors(directory / "model.safetensors"))
    return Module(part.kind, part.about, count, dtype, size, part.licence)


def _modules(directory: Path, config: dict[str, Any]) -> list[Module]:
    groups: dict[str, list[StoredTensor]] = {}
    for file in _weight_files(directory):
        for tensor in stored_tensors(file):
            groups.setdefault(_module_of(tensor.name, file, config), []).append(tensor)
    return [
        Module(name, _kind(name, group, config), *_sums(group)) for name, group in groups.items()
    ]


def _weight_files(directory: Path) -> Iterator[Path]:
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        yield from (
            directory / name for name in sorted(set(read_json(index)["weight_map"].values()))
        )
        return
    for name in ("model.safetensors", "adapter_model.safetensors", "classifier.safetensors"):
        if (directory / name).is_file():
            yield directory / name


def _module_of(tensor: str, file: Path, config: dict[str, Any]) -> str:
    """The module of a LLaVA model that a tensor belongs to, by old and new names alike."""
    if file.stem == "classifier":
        return "classifier"
    fusion = config.get("model_type") == MODEL_TYPE
    if config.get("model_type", "llava") != "llava" and not fusion:
        return "model"
    for module in ("vision_tower", "multi_modal_projector", "classifier", "lm_head"):
        if module in tensor:
            return module
    return "fusion_layers" if fusion else "language_model"


def _kind(module: str, tensors: Iterable[StoredTensor], config: dict[str, Any]) -> str:
    if any(".lora_" in tensor.name for tensor in tensors):
        return "LoRA"
    # transformers leaves out what is LLaVA 1.5's
    kinds = {
        "vision_tower": (config.get("vision_config") or {}).get("model_type", "clip_vision_model"),
        "language_model": (config.get("text_config") or {}).get("model_type", "llama"),
        "multi_modal_projector": "MLP",
        "model": config.get("model_type"),
        "fusion_layers": "co-attention",
    }
    if config.get("model_type") == MODEL_TYPE:
        kinds["vision_tower"] = str(config.get("vision"))
        kinds["classifier"] = f"{config.get('answers')} answers"
    return str(kinds.get(module, "linear"))


def _sums(tensors: Iterable[StoredTensor]) -> tuple[int, str, int]:
    """Parameters, types (that of most parameters first) and bytes, counters (I64) left out."""
    types: Counter[str] = Counter()
    size = 0
    for tensor in tensors:
        if tensor.dtype != "I64":
            types[tensor.dtype] += tensor.parameters
            size += tensor.end - tensor.start
    names = (_DTYPES.get(name, name.lower()) for name, _ in types.most_common())
    return sum(types.values()), ", ".join(names), size


def _licence(directory: Path) -> str | None:
    """The licence that a part's record, a model card or a licence file names."""
    if (directory / "part.json").is_file():
        return str(read_json(directory / "part.json").get("licence"))
    card = directory / "README.md"
    if card.is_file():
        for line in card.read_text(encoding="utf-8", errors="replace").splitlines()[:40]:
            if line.startswith("license:"):
                return line.removeprefix("license:").strip()
    for path in sorted(directory.glob("LICEN[CS]E*")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in lines if line.strip()), None)
    return None
