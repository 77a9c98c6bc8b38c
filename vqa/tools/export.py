"""Export a model for other programs: a LLaVA directory, or the adapter of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from vqa.errors import InputError
from vqa.inputs.tiles import has_tiles
from vqa.models import checkpoints
from vqa.models.bundled import parts
from vqa.models.finite import check_weights
from vqa.models.hub_layout import TensorNames
from vqa.models.image_text import stored_type
from vqa.models.model_files import HINT_SETTINGS
from vqa.models.runs import stable_adapter
from vqa.utils.json_files import read_object

Format = Literal["llava", "adapter"]
_EMBEDDED_BASE = "embedded/base"
_CONFIG, _WEIGHTS, _RECORD = "adapter_config.json", "adapter_model.safetensors", "vqa.json"


def export(
    model: str, directory: Path, format: Format, names: TensorNames = "hub", dtype: str = "auto"
) -> None:
    """Write `model` into the empty `directory`. Raises InputError where the format cannot hold it.

    `llava`: an adapter is merged, in double precision, and all is stored in `dtype`; `auto` is the
    type of the base's files. `adapter`: its weights as they are, without the rest of the run.
    """
    if format == "llava":
        _check_pictures(model)
        stored = stored_type(model) if dtype == "auto" else dtype
        loaded = checkpoints.load(model, device="cpu", dtype=stored)
        check_weights(loaded.model.named_parameters(), f"too large for {stored}, or damaged")
        checkpoints.save(loaded, directory, names)
        return
    if names != "hub" or dtype != "auto":
        raise InputError("an adapter keeps its names and its type: leave `names` and `dtype` out")
    if model == "embedded":
        _copy_adapter(parts.WEIGHTS, directory, _EMBEDDED_BASE)
        checkpoints.record_base(directory, _EMBEDDED_BASE)
    elif checkpoints.is_adapter(model):
        with stable_adapter(model) as adapter:
            _copy_adapter(Path(adapter), directory, checkpoints.base_of(adapter))
            if (Path(adapter) / _RECORD).is_file():
                shutil.copyfile(Path(adapter) / _RECORD, directory / _RECORD)
    else:
        raise InputError(
            f"{model}: a whole model, not an adapter on one: export it in `format` llava"
        )


def _check_pictures(model: str) -> None:
    """Raise InputError for what no other program has: an encoder that is ours, or LLaVA's tiles."""
    config, processor = checkpoints.load_config_and_processor(model)
    kind = config.vision_config.model_type
    tiles = has_tiles(processor.image_processor)
    if kind in CONFIG_MAPPING_NAMES and not tiles:
        return
    where = f" --model {model}" if model != "embedded" else ""
    adapter = model == "embedded" or checkpoints.is_adapter(model)
    ways = f"serve it by `vqa serve{where}`"
    ways += ", or export the `format` adapter" if adapter else ""
    backbone = getattr(config.vision_config, "backbone", kind)
    what = "tiles of large pictures are" if tiles else f"vision encoder ({kind}, {backbone}) is"
    raise InputError(
        f"{model}: its {what} unknown to plain transformers and to engines built on it, such as "
        f"vLLM: {ways}"
    )


def _copy_adapter(source: Path, directory: Path, base: str) -> None:
    """Copy the weights of a peft directory and its config, without what that leaves open."""
    config: dict[str, Any] = read_object(source / _CONFIG)
    config = {key: value for key, value in config.items() if value not in (None, {}, [])}
    config |= {"base_model_name_or_path": base, "inference_mode": True}
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (directory / _CONFIG).write_text(text, encoding="utf-8")
    if not (source / _WEIGHTS).is_file():
        raise InputError(f"{source}: its weights, {_WEIGHTS}, are missing")
    shutil.copyfile(source / _WEIGHTS, directory / _WEIGHTS)
    if (source / HINT_SETTINGS).is_file():
        shutil.copyfile(source / HINT_SETTINGS, directory / HINT_SETTINGS)
