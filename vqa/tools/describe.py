"""Describe a model by its files alone: its modules, parameters, dtypes and licence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqa.errors import InputError
from vqa.models import runs
from vqa.models.bundled import embedded, parts
from vqa.models.model_files import FUSION, weight_files
from vqa.tools.inventory import hub_snapshots, part_type, size_on_disk
from vqa.utils.json_files import read_object
from vqa.utils.safetensors_files import StoredTensor, stored_tensors

_BEGINNING = 64 << 10  # bytes of a card or licence
_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}


@dataclass(frozen=True)
class ModuleDescription:
    """One part of a model as it lies on disk."""

    name: str
    kind: str
    parameters: int | None  # None where the file is not here yet
    dtype: str
    bytes: int
    licence: str | None = None


@dataclass(frozen=True)
class ModelDescription:
    """A model as it lies on disk. `base` is what an adapter belongs to, with its fingerprint."""

    name: str
    kind: str
    directory: str | None
    architecture: str | None
    parameters: int | None
    bytes: int
    licence: str | None
    modules: Sequence[ModuleDescription]
    base: dict[str, Any] | None = None


def describe(name: str) -> ModelDescription:
    """Describe `embedded`, a directory, or a model in the hub's cache; InputError for no model."""
    if name == "embedded":
        return _describe_embedded()
    directory = Path(runs.resolve_and_warn(name))
    if not directory.is_dir():
        directory = hub_snapshots().get(name, directory)
    if (directory / "adapter_config.json").is_file():
        return _describe_adapter(name, directory)
    return _describe_model(name, directory)


def _describe_model(name: str, directory: Path) -> ModelDescription:
    if not (directory / "config.json").is_file():
        raise InputError(
            f"{name}: no model here (a model's directory has config.json, an adapter's "
            "adapter_config.json); `vqa models` lists what can be loaded"
        )
    config = read_object(directory / "config.json")
    model_type = str(config.get("model_type"))
    modules = _modules(directory, config)
    return ModelDescription(
        name=name,
        kind={"llava": "LLaVA", FUSION: "fusion"}.get(model_type, model_type),
        directory=str(directory.absolute()),
        architecture=_first_text(config.get("architectures")),
        parameters=sum(module.parameters or 0 for module in modules) or None,
        bytes=size_on_disk(directory),
        licence=_licence(directory),
        modules=modules,
        base=read_object(directory / "vqa.json") if model_type == FUSION else None,
    )


def _describe_adapter(name: str, directory: Path) -> ModelDescription:
    config = read_object(directory / "adapter_config.json")
    modules = _modules(directory, {})
    base = {"base": config.get("base_model_name_or_path")}
    if (directory / "vqa.json").is_file():
        base |= read_object(directory / "vqa.json")
    return ModelDescription(
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


def _describe_embedded() -> ModelDescription:
    """Describe the embedded model, or its parts as long as it has not been put together."""
    vision, language = parts.default_parts()
    licence = embedded.WEIGHTS_LICENCE if embedded.has_weights() else language.licence
    if embedded.has_weights() and embedded.model_path().is_dir():
        model = _describe_model("embedded", embedded.model_path())
        licences = {"vision_tower": vision.licence, "language_model": language.licence}
        modules = [replace(m, licence=licences.get(m.name, licence)) for m in model.modules]
        return replace(model, kind="embedded", licence=licence, modules=modules)
    modules = [_part_module(part) for part in (vision, language)]
    return ModelDescription(
        name="embedded",
        kind="embedded",
        directory=None,
        architecture="LlavaForConditionalGeneration",
        parameters=None,
        bytes=0,
        licence=licence,
        modules=modules,
    )


def _part_module(part: parts.Part) -> ModuleDescription:
    directory = parts.converted_path(part)
    if not directory.is_dir():
        kind = f"{part.about}; to fetch"
        return ModuleDescription(part.kind, kind, None, "", part.wheel.size, part.licence)
    count, dtype, size = _sums(stored_tensors(directory / "model.safetensors"))
    return ModuleDescription(part.kind, part.about, count, dtype, size, part.licence)


def _modules(directory: Path, config: dict[str, Any]) -> list[ModuleDescription]:
    groups: dict[str, list[StoredTensor]] = {}
    for file in weight_files(directory):
        for tensor in stored_tensors(file):
            groups.setdefault(_module_of(tensor.name, file, config), []).append(tensor)
    return [
        ModuleDescription(name, _kind(name, group, config), *_sums(group))
        for name, group in groups.items()
    ]


def _module_of(tensor: str, file: Path, config: dict[str, Any]) -> str:
    """Return the module of a LLaVA model that a tensor belongs to, by old and new names alike."""
    if file.stem == "classifier":
        return "classifier"
    fusion = config.get("model_type") == FUSION
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
        "vision_tower": part_type(config, "vision_config", "clip_vision_model"),
        "language_model": part_type(config, "text_config", "llama"),
        "multi_modal_projector": "MLP",
        "model": config.get("model_type"),
        "fusion_layers": "co-attention",
    }
    if config.get("model_type") == FUSION:
        kinds["vision_tower"] = str(config.get("vision"))
        kinds["classifier"] = f"{config.get('answers')} answers"
    return str(kinds.get(module, "linear"))


def _sums(tensors: Iterable[StoredTensor]) -> tuple[int, str, int]:
    """Sum parameters, types (that of most parameters first) and bytes, without counters (I64)."""
    types: Counter[str] = Counter()
    size = 0
    for tensor in tensors:
        if tensor.dtype != "I64":
            types[tensor.dtype] += tensor.parameters
            size += tensor.end - tensor.start
    names = (_DTYPES.get(name, name.lower()) for name, _ in types.most_common())
    return sum(types.values()), ", ".join(names), size


def _licence(directory: Path) -> str | None:
    """Return the licence that a part's record, a model card or a licence file names."""
    if (directory / "part.json").is_file():
        return str(read_object(directory / "part.json").get("licence"))
    card = directory / "README.md"
    if card.is_file():
        for line in _beginning(card)[:40]:
            if line.startswith("license:"):
                return line.removeprefix("license:").strip()
    for path in sorted(directory.glob("LICEN[CS]E*")):
        if path.is_file():
            return next((line.strip() for line in _beginning(path) if line.strip()), None)
    return None


def _beginning(path: Path) -> list[str]:
    """Read the first lines of a text of any length."""
    with path.open("rb") as file:
        return file.read(_BEGINNING).decode("utf-8", "replace").splitlines()


def _first_text(value: Any) -> str | None:
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, str) else None
