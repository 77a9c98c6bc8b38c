"""What the configs of all trainings share; unknown keys are refused."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of a config, which refuses unknown keys."""

    model_config = ConfigDict(extra="forbid")


def _known_metric(name: str) -> str:
    from vqa.metrics import get_metric

    return get_metric(name).name


def _known_logger(name: str) -> str:
    from transformers.integrations import get_available_reporting_integrations

    loggers = get_available_reporting_integrations()
    if name not in loggers:  # Trainer says so only when all features are computed
        names = ", ".join(sorted(loggers)) or "none"
        raise ValueError(f"{name} is not a logger that is installed here (those are: {names})")
    return name


Logger = Annotated[str, AfterValidator(_known_logger)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # numpy takes no others


class ValidationSettings(Section):
    """When the validation is measured, and what follows from it."""

    data: Path | None = None  # a file of its own, else a share of the training pictures
    share: float = Field(0.05, ge=0, lt=1)  # of the pictures; 0 for no validation
    every: int | None = Field(None, ge=1)  # steps; a fifth of the run if not set
    best_by: Literal["loss", "metric"] = "loss"  # which weights the run ends with
    patience: int | None = Field(None, ge=1)  # stop after so many validations without a better one


class QuestionValidationSettings(ValidationSettings):
    """The same for questions and answers."""

    rows: int = Field(200, ge=1)  # most rows that are looked at
    # how an answer is compared with the data's, a metric of `vqa score`
    metric: Annotated[str, AfterValidator(_known_metric)] = "exact_match"


class RunSettings(Section, ABC):
    """What all trainings share."""

    # data
    data: Path | None = None  # pictures with questions or captions, in any known format
    images: Path | None = None  # root of the rows' pictures; the data file's folder if not set
    skip_bad: bool = False  # leave out rows that cannot be used, instead of refusing the data
    validation: ValidationSettings
    # where the run goes
    output: Path
    # how long
    epochs: float = Field(1.0, gt=0, allow_inf_nan=False)
    max_steps: int | None = Field(None, gt=0)
    # how fast
    learning_rate: Section
    warmup_ratio: float = Field(0.05, ge=0, le=1)  # of all steps, with growing rates
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    # the machine
    # CUDA_VISIBLE_DEVICES chooses among GPUs
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    # the run
    # checkpoints: behind the first step of a start, every so many minutes, at each validation and
    # at the end; with `save_every` also every so many steps
    save_minutes: float = Field(3.0, gt=0, allow_inf_nan=False)
    save_every: int | None = Field(None, ge=1)
    keep_checkpoints: int = Field(1, ge=1)
    log_every: int = Field(10, ge=1)
    loggers: list[Logger] = []  # of transformers' Trainer: tensorboard, wandb, ...
    seed: Seed = 0

    @abstractmethod
    def rows_of_step(self) -> int:
        """Count the rows that one optimizer step takes, over all processes."""

    def rows_of_pass(self) -> int:
        """Count the rows that go through the model at once."""
        return 1

    def steps_for(self, rows: int) -> int:
        """Count the optimizer steps of a run over so many rows."""
        return self.max_steps or math.ceil(rows / self.rows_of_step())


class EncoderTraining(Section):
    """What learns of the vision encoder, if anything; its BatchNorm statistics stay."""

    vision: bool = False


class QuestionSettings(RunSettings):
    """What all trainings on questions and answers share."""

    fetch: Literal["easy_vqa"] | None = None  # a public set to take where `data` names none
    validation: QuestionValidationSettings = QuestionValidationSettings()
    rows_per_step: int = Field(8, ge=1)

    def rows_of_step(self) -> int:
        return self.rows_per_step


class AugmentSettings(Section):
    """Other views of the training pictures than the whole: against learning few by heart."""

    # of each picture, drawn anew for each time it comes; the whole picture is one of them
    views: int = Field(1, ge=1)
    smallest: float = Field(0.8, gt=0, le=1)  # share of width and height that a view keeps at least
    whole: tuple[str, ...] = ()  # sources whose pictures are never cut: where things are counted
    # sources, or all of them, that do not tell left from right: half of the parts are mirrored
    mirror: bool | tuple[str, ...] = False
