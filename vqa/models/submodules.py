"""Which parts of a vision-language model see, join and write, whatever its architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from vqa.errors import InputError


@dataclass(frozen=True)
class Submodules:
    """Paths of the parts of a model, as `named_modules` has them."""

    language: str
    vision: str | None  # None where pictures are read by no encoder of their own
    projector: tuple[str, ...]  # what joins the two; of Qwen2-VL and its like inside the encoder
    head: tuple[str, ...]  # what makes logits


def submodules(model: Any) -> Submodules:
    """Find the parts of a model. Raises InputError where what writes is no module of its own."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    paths = {id(module): path for path, module in model.named_modules()}
    language = paths.get(id(decoder))
    if not language:
        raise InputError(
            f"the language model in a {model.config.model_type} model is no module of its own, and "
            "can be neither quantized nor trained here"
        )
    encoders = [paths.get(id(model.get_encoder(what))) for what in ("image", "audio")]
    vision = encoders[0] or None
    heads = tuple(path for path in (paths.get(id(head)),) if path)
    joining = [path for path in sibling_modules(model, language) if path not in (*encoders, *heads)]
    if not joining and vision:
        encoder = model.get_submodule(vision)
        inside = getattr(encoder, "original_module", encoder).named_children()  # as peft wraps it
        joining = [f"{vision}.{name}" for name, _ in inside if "merger" in name]
    projector = [inner for path in joining for inner in _expand_module_list(model, path)]
    return Submodules(language, vision, tuple(projector), heads)


def sibling_modules(model: nn.Module, path: str) -> list[str]:
    """List the paths of the modules beside that at `path`, and beside those that hold it."""
    paths, parent, prefix = [], model, ""
    for part in path.split("."):
        paths += [prefix + name for name, _ in parent.named_children() if name != part]
        parent, prefix = parent.get_submodule(part), f"{prefix}{part}."
    return paths


def _expand_module_list(model: nn.Module, path: str) -> list[str]:
    """Return the paths of the modules in a ModuleList; of any other module its own."""
    module = model.get_submodule(path)
    if isinstance(module, nn.ModuleList):
        return [f"{path}.{name}" for name, _ in module.named_children()]
    return [path]
