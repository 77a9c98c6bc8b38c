"""The model that ships: pretrained parts from packages, and the projector and adapter trained here.

All of it is made once and cached as a plain LLaVA directory in bfloat16, which loads without peft.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from vqa import fingerprint, parts
from vqa.errors import InputError
from vqa.files import atomic_directory, atomic_write, lock
from vqa.parts import part_directory as part_directory  # one door for all that is embedded
from vqa.tensors import fingerprint_of_tensors

if TYPE_CHECKING:
    from vqa.model import Composed

WEIGHTS_LICENCE = "LicenseRef-vqa-weights (research, see LICENSE-WEIGHTS)"
_RECORD = "vqa.json"


def has_weights() -> bool:
    """Whether trained weights ship with this build."""
    return (parts.WEIGHTS / "adapter_config.json").is_file()


def model_path() -> Path:
    """Where the ready embedded model is or will be; it is whole when it exists."""
    return _path("embedded", [fingerprint.of_directory(parts.WEIGHTS), *_adapter_files()])


def model_directory() -> Path:
    """The embedded model as a plain LLaVA directory, made on first use from its parts.

    Raises InputError where no trained weights ship or where they were trained on other parts, and
    VQAError where a part cannot be fetched.
    """
    if not has_weights():
        raise InputError(
            "no trained weights ship with this build: train some (`vqa train pretrain`, then "
            "`vqa train finetune`) and give --model RUN"
        )
    target = model_path()
    if not target.is_dir():
        _check_parts()
        _make(target, with_adapter=True)
    return target


def base_directory() -> Path:
    """The same model before any training, its projector random: what trainings can start from."""
    target = _path("base", [])
    if not target.is_dir():
        _make(target, with_adapter=False)
    return target


def part_fingerprints() -> dict[str, str]:
    """Identity of the weights of the vision and the language part."""
    return {
        "vision": fingerprint_of_tensors(part_directory("vision") / "model.safetensors"),
        "language": fingerprint_of_tensors(part_directory("language") / "model.safetensors"),
    }


def record_parts(adapter: Path) -> None:
    """Note beside an adapter, before it ships, the parts that it was trained on."""
    with atomic_write(adapter / _RECORD) as file:
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
    record_parts(parts.WEIGHTS)


def _path(name: str, identity: list[str]) -> Path:
    sources = [parts.converted_path(part).name for part in parts.default_parts()]
    key = fingerprint.of_json([*sources, *identity])
    return parts.cache_directory() / "models" / f"{name}-{key[:12]}"


def _adapter_files() -> list[str]:
    return [fingerprint.of_file(parts.WEIGHTS / name) for name in ("adapter_config.json", _RECORD)]


def _check_parts() -> None:
    path = parts.WEIGHTS / _RECORD
    recorded = json.loads(path.read_text(encoding="utf-8"))["base"]
    if not isinstance(recorded, dict):
        raise InputError(f"{path}: it does not name the parts (`embedded.record_parts` writes it)")
    for part, found in zip(parts.default_parts(), part_fingerprints().values(), strict=True):
        if recorded[part.kind] != found:
            directory = parts.converted_path(part)
            raise InputError(
                f"the embedded model was trained on the {part.kind} part {recorded[part.kind]}, "
                f"but the one in {directory} is {found}: remove that directory and run `vqa models "
                "fetch`"
            )


def _make(target: Path, with_adapter: bool) -> None:
    from vqa.model import compose

    vision, language = part_directory("vision"), part_directory("language")
    with parts.report_disk_errors(), lock(target):
        if target.is_dir():  # another process has made it while this one waited
            return
        with parts.working("putting the embedded model together (once)"):
            import torch

            composed = compose(vision, language, dtype=torch.bfloat16)
            with atomic_directory(target) as directory:
                _save(composed, with_adapter, directory)


def _save(composed: Composed, with_adapter: bool, directory: Path) -> None:
    from vqa.conversion import make_config_portable, save_model

    model = composed.model
    if with_adapter:
        from vqa.checkpoints import add_adapter, merge_adapter

        model = merge_adapter(add_adapter(model, str(parts.WEIGHTS)))
    save_model(model, directory)
    composed.processor.save_pretrained(directory)
    make_config_portable(directory)
