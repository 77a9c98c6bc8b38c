"""Which recipe a training config asks for."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from vqa.config import load_config
from vqa.errors import InputError


class _Any(BaseModel):
    """Any config: only its recipe is read."""

    model_config = ConfigDict(extra="allow")

    recipe: str = ""


def run(config: str, overrides: Sequence[str] = ()) -> None:
    """Train what `config`, a path or a shipped name, says; InputError where it is wrong."""
    recipe = load_config(_Any, config, overrides).recipe
    if recipe == "pretrain":
        from training import pretrain

        pretrain.run(load_config(pretrain.PretrainSettings, config, overrides))
    elif recipe == "finetune":
        from training import finetune

        finetune.run(load_config(finetune.FinetuneSettings, config, overrides))
    else:
        raise InputError(f"{config}: recipe: choose pretrain or finetune, not {recipe!r}")
