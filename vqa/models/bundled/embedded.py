"""The model that ships: pretrained parts from packages, and the projector and adapter trained here.

All of it is made once and cached as a plain LLaVA directory in bfloat16, which loads without peft.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from vqa.errors import InputError
from vqa.models.bundled import parts
from vqa.models.bundled.parts import HEAD
from vqa.models.bundled.parts import (
    part_directory as part_directory,  # one door for all that is embedded
)
from vqa.models.model_files import CLASSIFIER, HINT_SETTINGS
from vqa.utils import fingerprint
from vqa.utils.cache import cache_dir
from vqa.utils.checksums import Depth, adopt_whole, ensure_directory
from vqa.utils.files import atomic_write
from vqa.utils.safetensors_files import fingerprint_of_tensors

if TYPE_CHECKING:
    from vqa.models.llava import ComposedModel

WEIGHTS_LICENCE = "LicenseRef-vqa-weights (research, see LICENSE-WEIGHTS)"


def has_weights() -> bool:
    """Return whether trained weights ship with this build."""
    return (parts.WEIGHTS / "adapter_config.json").is_file()


def model_path() -> Path:
    """Return the directory of the embedded model, which is whole if it exists."""
    return _path("embedded", [fingerprint.of_directory(parts.WEIGHTS), *_adapter_files()])


def model_directory(depth: Depth = "sample") -> Path:
    """Make the embedded model, a plain LLaVA directory, from its parts on first use.

    It is made again, which needs no network, where it is damaged. Raises InputError where no
    trained weights ship or where they were trained on other parts, and VQAError where a part cannot
    be fetched or is damaged.
    """
    if not has_weights():
        raise InputError(
            "no trained weights ship with this build: train some (`vqa train pretrain`, then "
            "`vqa train finetune`) and give `model` RUN"
        )
    return _ensure(model_path(), True, depth)


def base_path() -> Path:
    """Return the directory of the model before any training, which may not be made yet."""
    return _path("base", [CLASSIFIER])


def base_directory(depth: Depth = "sample") -> Path:
    """Make the model before any training, its projector random, which trainings can start from."""
    return _ensure(base_path(), False, depth)


def part_fingerprints() -> dict[str, str]:
    """Compute the identity of the weights of the vision and the language part."""
    return {
        "vision": fingerprint_of_tensors(part_directory("vision") / "model.safetensors"),
        "language": fingerprint_of_tensors(part_directory("language") / "model.safetensors"),
    }


def record_parts(adapter: Path) -> None:
    """Note beside an adapter, before it ships, the parts that it was trained on."""
    with atomic_write(adapter / parts.RECORD) as file:
        json.dump({"base": part_fingerprints()}, file, indent=2)
        file.write("\n")


def ship(run: Path) -> None:
    """Make the adapter of a run on `embedded/base` the one that ships, in bfloat16."""
    import torch
    from safetensors.torch import load_file, save

    name, config = "adapter_model.safetensors", "adapter_config.json"
    weights = {key: value.to(torch.bfloat16) for key, value in load_file(run / name).items()}
    with atomic_write(parts.WEIGHTS / name, "wb") as file:
        file.write(save(weights, {"format": "pt"}))
    with atomic_write(parts.WEIGHTS / config) as file:
        file.write((run / config).read_text(encoding="utf-8"))
    if (run / HINT_SETTINGS).is_file():
        with atomic_write(parts.WEIGHTS / HINT_SETTINGS) as file:
            file.write((run / HINT_SETTINGS).read_text(encoding="utf-8"))
    record_parts(parts.WEIGHTS)


def _path(name: str, identity: list[str]) -> Path:
    sources = [parts.converted_path(part).name for part in parts.default_parts()]
    key = fingerprint.of_json([*sources, *identity])
    return cache_dir() / "models" / f"{name}-{key[:12]}"


def _adapter_files() -> list[str]:
    names = ("adapter_config.json", parts.RECORD, HINT_SETTINGS)
    paths = (parts.WEIGHTS / name for name in names)
    return [CLASSIFIER, *(fingerprint.of_file(path) for path in paths if path.is_file())]


def _check_parts() -> None:
    recorded = parts.recorded_fingerprints()
    present = part_fingerprints()
    for part in parts.default_parts():
        if recorded[part.kind] != present[part.kind]:
            directory = parts.converted_path(part)
            raise InputError(
                f"the embedded model was trained on the {part.kind} part {recorded[part.kind]}, "
                f"but the one in {directory} is {present[part.kind]}: remove that directory and "
                "run `vqa models fetch`"
            )


def _ensure(target: Path, with_adapter: bool, depth: Depth) -> Path:
    needed = (
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        CLASSIFIER,
    )
    with parts.report_disk_errors():
        return ensure_directory(
            target,
            lambda directory: _make(directory, with_adapter),
            depth=depth,
            adopt=adopt_whole(*needed),
        )


def _make(directory: Path, with_adapter: bool) -> None:
    from vqa.models.llava import compose

    if with_adapter:
        _check_parts()
    vision, language = part_directory("vision"), part_directory("language")
    with parts.show_status("putting the embedded model together (once)"):
        import torch

        _save(compose(vision, language, dtype=torch.bfloat16), with_adapter, directory)


def _save(composed: ComposedModel, with_adapter: bool, directory: Path) -> None:
    from vqa.models.bundled.conversion import make_config_portable, save_model

    model = composed.model
    if with_adapter:
        from vqa.models.adapters import add_adapter, merge_adapter

        model = merge_adapter(add_adapter(model, str(parts.WEIGHTS)))
    save_model(model, directory)
    composed.processor.save_pretrained(directory)
    shutil.copyfile(part_directory("vision") / HEAD, directory / CLASSIFIER)
    if with_adapter and (parts.WEIGHTS / HINT_SETTINGS).is_file():
        shutil.copyfile(parts.WEIGHTS / HINT_SETTINGS, directory / HINT_SETTINGS)
    make_config_portable(directory)
