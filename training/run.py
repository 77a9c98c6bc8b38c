"""Which recipe a training config asks for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict

from training.processes import alone, leave
from training.settings import QuestionSettings
from vqa.checkpoints import base_of, is_adapter
from vqa.config import load_config
from vqa.errors import InputError

if TYPE_CHECKING:
    from training.dry_run import Pace

Settings = TypeVar("Settings", bound=QuestionSettings)


class _Any(BaseModel):
    """Any config: only its recipe and its place are read."""

    model_config = ConfigDict(extra="allow")

    recipe: str = ""
    output: Path | None = None


def run(config: str, overrides: Sequence[str] = (), dry_run: bool = False) -> None:
    """Train what `config`, a path or a shipped name, says; InputError where it is wrong.

    `dry_run` prints what that would do, take and last.
    """
    given = load_config(_Any, config, overrides)
    with nullcontext() if dry_run or given.output is None else alone(given.output):
        _run(given.recipe, config, overrides, dry_run)


def _run(recipe: str, config: str, overrides: Sequence[str], dry_run: bool) -> None:
    if recipe == "pretrain":
        from training import pretrain

        pretrained = load_config(pretrain.PretrainSettings, config, overrides)
        (pretrain.dry_run if dry_run else pretrain.run)(with_data(pretrained))
    elif recipe == "finetune":
        from training import finetune

        tuned = load_config(finetune.FinetuneSettings, config, overrides)
        (finetune.dry_run if dry_run else finetune.run)(with_data(tuned))
    elif recipe == "fusion":
        from training import fuse

        fused = load_config(fuse.FuseSettings, config, overrides)
        (fuse.dry_run if dry_run else fuse.run)(with_data(fused))
    elif recipe == "align":
        from training import align

        aligned = load_config(align.AlignSettings, config, overrides)
        (align.dry_run if dry_run else align.run)(aligned)
    else:
        raise InputError(
            f"{config}: recipe: choose pretrain, finetune, fusion or align, not {recipe!r}"
        )
    leave()


def pace(model: str, pictures: Sequence[str]) -> Pace | None:
    """How fast `model` would learn by the shipped config `finetune`, tried on some `pictures`.

    None where that does not fit into memory.
    """
    from training import finetune

    settings = load_config(finetune.FinetuneSettings, "finetune")
    if is_adapter(model):  # it is gone on with on its model
        model = base_of(model)
    return finetune.pace_of(settings.model_copy(update={"model": model}), pictures)


def with_data(settings: Settings) -> Settings:
    """The settings with `data`: the public set that `fetch` names, where no file is named."""
    if settings.data is not None or settings.fetch is None:
        return settings
    from vqa.data import easy_vqa

    return settings.model_copy(update={"data": easy_vqa.directory() / "train.jsonl"})
