"""An adapter's files, checked before peft builds anything of them: they may mean ill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqa.errors import InputError
from vqa.utils import sandbox
from vqa.utils.json_files import read_object
from vqa.utils.safetensors_files import stored_tensors

# what an adapter's config can make peft import, read or build beside the adapter's own weights
_OF_CODE = ("megatron_config", "loftq_config", "eva_config", "corda_config", "layer_replication")
_RANK = 64  # that costs little, whatever the weights have


def check_adapter(adapter: Path, modules: Sequence[str]) -> None:
    """Raise InputError for what peft would load otherwise than from plain weights of their size.

    `modules`: the names of the model's, which the adapter's regular expressions are tried on.
    """
    config = read_object(adapter / "adapter_config.json")
    if not (adapter / "adapter_model.safetensors").is_file():
        raise InputError(
            "adapter_model.safetensors is missing (weights that are pickles could run "
            "anything and are not read)"
        )
    for key in _OF_CODE:
        if config.get(key):
            raise InputError(
                f"{key} in adapter_config.json is not taken: it names modules to import "
                "or files to read"
            )
    _check_ranks(adapter, config)
    try:
        patterns = _patterns(config)
        if patterns:
            sandbox.check_patterns(patterns, modules)
    except InputError as error:
        raise InputError(
            f"a pattern of layers in adapter_config.json cannot be used: {error}"
        ) from error


def _check_ranks(adapter: Path, config: dict[str, Any]) -> None:
    """Refuse ranks that the weights have not: peft would draw matrices of them first."""
    tensors = stored_tensors(adapter / "adapter_model.safetensors")
    stored = max((min(tensor.shape, default=0) for tensor in tensors), default=0)
    ranks = config.get("rank_pattern") or {}
    values = [config.get("r"), *(ranks.values() if isinstance(ranks, dict) else [ranks])]
    for rank in values:
        if rank is not None and not (isinstance(rank, int) and 0 < rank <= max(stored, _RANK)):
            raise InputError(f"rank {str(rank)[:40]} in adapter_config.json, and no weights of it")


def _patterns(config: dict[str, Any]) -> list[str]:
    """List the regular expressions in an adapter's config, as peft reads them."""
    patterns = [config.get(key) for key in ("target_modules", "exclude_modules")]
    layers = config.get("layers_pattern")
    parts = [*(layers if isinstance(layers, list) else [layers])]
    for key in ("rank_pattern", "alpha_pattern"):
        parts += list(config[key]) if isinstance(config.get(key), dict) else []
    patterns += [rf"(.*\.)?({part})$" for part in parts if isinstance(part, str)]
    return [pattern for pattern in patterns if isinstance(pattern, str)]
