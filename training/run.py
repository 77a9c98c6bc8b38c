"""Run the recipe that a training config names: check, prepare, train, save and describe it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from accelerate import PartialState
from pydantic import BaseModel, ConfigDict

from training.common.processes import join_processes, refuse_second_training, shutdown_distributed
from training.common.resume import checkpoint_line, refuse_another
from training.common.settings import RunSettings
from vqa.errors import DiskError, InputError, VQAError
from vqa.models.checkpoints import base_of, is_adapter
from vqa.models.runs import last_checkpoint, state_of, step_of
from vqa.utils.config import load_config
from vqa.utils.stopping import Stop, exit_error

if TYPE_CHECKING:
    from training.common.recipe import Recipe
    from training.sft.estimates import Pace

Settings = TypeVar("Settings", bound=RunSettings)


class _ConfigHead(BaseModel):
    """The keys of any config that say which recipe runs, and where."""

    model_config = ConfigDict(extra="allow")

    recipe: str = ""
    output: Path | None = None


def run(config: str, overrides: Sequence[str] = (), dry_run: bool = False) -> None:
    """Train what `config`, a path or a shipped name, says; raise InputError where it is wrong.

    `dry_run` prints what that would do, take and last.
    """
    head = load_config(_ConfigHead, config, overrides)
    if dry_run or head.output is None:
        _run(head.recipe, config, overrides, dry_run)
        return
    if head.output.exists() and not head.output.is_dir():
        raise InputError(f"output={head.output} is a file: give a directory")
    with refuse_second_training(head.output):
        try:
            _run(head.recipe, config, overrides, dry_run)
        except Stop as stop:
            raise exit_error(stop, _progress(head.output)) from None
        except DiskError as error:
            advice = "make room and give the same command again"
            raise VQAError(f"{error}; {checkpoint_line(head.output)}: {advice}") from error


def _progress(output: Path) -> str:
    """Describe what of a stopped run is saved, and how it goes on."""
    checkpoint = last_checkpoint(output)
    if checkpoint is None:
        return (
            "before the first step was saved: the same command starts again, and what was read and "
            "encoded is kept"
        )
    state = state_of(checkpoint) or {}
    return (
        f"behind step {step_of(checkpoint)} of {state.get('max_steps')}, which is saved in "
        f"{output}: the same command goes on from there"
    )


def _run(name: str, config: str, overrides: Sequence[str], dry_run: bool) -> None:
    recipe_class = _recipe_class(name, config)
    settings = with_data(load_config(recipe_class.settings_class, config, overrides))
    recipe = _for_model(recipe_class, settings)(settings)
    if dry_run:
        from training.common.dry_run import dry_run as print_outlook

        print_outlook(recipe)
    else:
        train(recipe)
    shutdown_distributed()


def train(recipe: Recipe[Any, Any]) -> None:
    """Train into the output directory; go on where an earlier start of the same run stopped."""
    from training.common import loop, record, report
    from training.common.run_directory import open_run_directory

    settings = recipe.settings
    join_processes(settings)
    refuse_another(settings.output, {"settings": settings.model_dump(mode="json")})
    plan = recipe.plan()
    model = recipe.build(plan)
    with PartialState().main_process_first():  # the others find its features on disk
        prepared = recipe.prepare(plan, model)
    description = record.describe(settings, plan, prepared)
    if not record.begin(settings.output, description):
        return
    report.print_report(recipe.report(model))
    report.print_sets(plan.sets())
    report.print_remarks(recipe.remarks(plan))
    with open_run_directory(settings.output) as directory:
        trainer = loop.fit(recipe, prepared, directory)
        recipe.save(trainer)
    record.end(settings.output, description, trainer.state.log_history, recipe.card(plan))


def _recipe_class(name: str, config: str) -> type[Recipe[Any, Any]]:
    """Find a recipe by its name in a config."""
    if name == "pretrain":
        from training.sft.pretrain import PretrainRecipe

        return PretrainRecipe
    if name == "finetune":
        from training.sft.finetune import FinetuneRecipe

        return FinetuneRecipe
    if name == "preference":
        from training.sft.preference import PreferenceRecipe

        return PreferenceRecipe
    if name == "fusion":
        from training.fusion.model import FusionRecipe

        return FusionRecipe
    if name == "align":
        from training.align.model import AlignRecipe

        return AlignRecipe
    raise InputError(
        f"{config}: recipe: choose pretrain, finetune, preference, fusion or align, not {name!r}"
    )


def _for_model(recipe_class: type[Recipe[Any, Any]], settings: Any) -> type[Recipe[Any, Any]]:
    """Replace the recipe `finetune` by `ImageTextRecipe` where the model is not LLaVA."""
    from vqa.models.image_text import is_other_vlm

    if settings.recipe == "finetune" and is_other_vlm(settings.model):
        from training.sft.image_text_recipe import ImageTextRecipe

        return ImageTextRecipe
    return recipe_class


def pace(model: str, pictures: Sequence[str]) -> Pace | None:
    """Measure how fast `model` learns by the shipped config `finetune`, on some `pictures`.

    None where that does not fit into memory.
    """
    from training.sft.finetune import FinetuneRecipe
    from training.sft.settings import FinetuneSettings

    settings = load_config(FinetuneSettings, "finetune")
    if is_adapter(model):  # it is gone on with on its model
        model = base_of(model)
    return FinetuneRecipe(settings.model_copy(update={"model": model})).pace(pictures)


def with_data(settings: Settings) -> Settings:
    """Name as `data` the public set of `fetch`, where no file is named."""
    if settings.data is not None or getattr(settings, "fetch", None) is None:
        return settings
    from vqa.data import easy_vqa

    return settings.model_copy(update={"data": easy_vqa.directory() / "train.jsonl"})
