"""Pretraining: only the projector learns, between a frozen encoder and a frozen language model.

The first stage of LLaVA (Liu et al. 2023). Gives a plain LLaVA directory.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from training.dry_run import hours_of, outlook, pace, show
from training.loop import fit, save
from training.memory import Estimate, estimate, own_memory
from training.planning import plan
from training.processes import device_of, join
from training.record import begin, describe, end
from training.report import print_report
from training.resume import refuse_another
from training.rows import prepare
from training.settings import TrainSettings
from vqa import fingerprint
from vqa.dtypes import dtype_of
from vqa.model import Composed, compose, freeze, module_report


class PretrainSettings(TrainSettings):
    """The parts to join, besides what every training says."""

    recipe: Literal["pretrain"]
    vision: str
    language: str


def run(settings: PretrainSettings) -> None:
    """Compose, train the projector, save a LLaVA directory in `output`."""
    join(settings)
    refuse_another(settings.output, {"settings": settings.model_dump(mode="json")})
    composed = _compose(settings)
    model, processor = composed.model, composed.processor
    print_report(module_report(model))
    start = fingerprint.of_module(model)  # before features give the projector its start
    prepared = prepare(settings, model, processor)
    described = describe(settings, start, prepared)
    if not begin(settings.output, described):
        return
    trainer = fit(model, processor, prepared, settings)
    save(trainer, settings.output, model.dtype)
    base = f"{settings.vision} and {settings.language}"
    end(settings.output, described, trainer.state.log_history, base, "a new projector")


def dry_run(settings: PretrainSettings) -> None:
    """Print what `run` would do, take and last; nothing is written but the tokens' cache."""
    program = own_memory()
    composed = _compose(settings)
    model, processor = composed.model, composed.processor
    planned = plan(settings, model.config, processor)

    def estimated(**change: Any) -> Estimate:
        changed = settings.model_copy(update=change)
        longest = max(changed.row_tokens, int(planned.groups.tokens.max()))
        return estimate(model.config, changed, model.dtype, _set_up, longest, program=program)

    def hours() -> float:
        paths = sorted(planned.trained_pictures())
        found = pace(model, model, processor, paths, settings, pixels=False)
        return hours_of(found, model, processor, planned, settings)

    smaller = (
        (f"{key}={str(value).lower()}", estimated(**{key: value}))
        for key, value in (("gradient_checkpointing", True), ("row_tokens", 256))
    )
    show(outlook(settings, planned, estimated(), smaller, model.device, hours))


def _compose(settings: PretrainSettings) -> Composed:
    composed = compose(settings.vision, settings.language, dtype=torch.float32, seed=settings.seed)
    model = composed.model
    device = device_of(settings)
    model.to(device, dtype_of(settings.dtype, model.config, str(device)))
    model.model.language_model.set_attn_implementation(settings.attention)
    _set_up(model)
    return composed


def _set_up(model: Any) -> Any:
    freeze(model, trainable=("multi_modal_projector",))
    return model


if __name__ == "__main__":  # python -m training.pretrain CONFIG [key=value ...]
    import sys

    from vqa.cli import main

    main(["train", *sys.argv[1:]])
