"""What `vqa compare` compares: predictions in files, or models, whose predictions come first."""

from __future__ import annotations

import gc
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.errors import InputError

_LONGEST = 100  # characters of a file's name
_ANY_NUMBER = 1 << 62


@dataclass(frozen=True)
class Compared:
    """One side: how it was named, and the file with its predictions."""

    name: str
    file: Path
    is_model: bool  # then the file is to be made


def compared(names: Sequence[str], data: Path, out: Path | None) -> list[Compared]:
    """Tell files from models. Predictions of models go to `out`, or to a folder beside the data.

    That folder is named by the data's content, so that rows of other data never stand in it. Raises
    InputError for what can be neither, and where two models would share a file.
    """
    found = [Compared(name, Path(name), is_model=not Path(name).is_file()) for name in names]
    for one in found:
        if one.is_model:
            _check_model(one.name)
    if any(one.is_model for one in found):
        folder = out or _folder(data)
        found = [
            Compared(one.name, folder / _file_name(one.name), True) if one.is_model else one
            for one in found
        ]
    files: dict[Path, str] = {}
    for one in found:
        if one.file in files:
            raise InputError(
                f"{one.name} and {files[one.file]} share the file {one.file}: make one of them "
                "with `vqa predict` and name its file"
            )
        files[one.file] = one.name
    return found


def make_predictions(sides: Sequence[Compared], data: Path, settings: Mapping[str, Any]) -> None:
    """Predict with each model, as `vqa predict` does; what earlier runs have answered is kept.

    `settings` are further arguments of that command. Rows that fail are no reason to stop: they
    count as unanswered.
    """
    from vqa.cli.predict import predict

    for side in sides:
        if side.is_model:
            predict(data, side.file, model=side.name, max_errors=_ANY_NUMBER, **settings)
            gc.collect()  # two large models may not fit beside each other


def _check_model(name: str) -> None:
    """Refuse at once what cannot be a model, before another one is asked for minutes."""
    path = Path(name)
    if name in ("embedded", "embedded/base"):
        return
    if path.is_dir():
        if not any((path / file).is_file() for file in ("config.json", "adapter_config.json")):
            raise InputError(
                f"{name} holds no model (no config.json, no adapter_config.json), and is no file "
                "of predictions"
            )
    elif not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) or name.endswith((".jsonl", ".json")):
        raise InputError(f"{name}: no such file of predictions, and no model")
    from vqa.checkpoints import look
    from vqa.fusion import is_fusion

    if not is_fusion(name):
        look(name)  # its config and processor: seconds, also from a hub


def _folder(data: Path) -> Path:
    from vqa.data.identity import sha256

    beside = data.parent if data.exists() else Path()  # a hub id lies nowhere
    return beside / "compare" / f"{data.stem}-{sha256(data)[:8]}"


def _file_name(model: str) -> str:
    """The name of a model as that of a file."""
    plain = re.sub(r"[^\w.-]+", "-", model).strip("-.") or "model"
    return f"{plain[-_LONGEST:]}.jsonl"
