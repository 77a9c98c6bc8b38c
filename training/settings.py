"""What every training config may say; unknown keys are refused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _known_metric(name: str) -> str:
    from vqa.metrics import metric

    return metric(name).name


def _known_logger(name: str) -> str:
    from transformers.integrations import get_available_reporting_integrations

    known = get_available_reporting_integrations()
    if name not in known:  # Trainer says so only when all features are computed
        there = ", ".join(sorted(known)) or "none"
        raise ValueError(f"{name} is not a logger that is installed here (those are: {there})")
    return name


Logger = Annotated[str, AfterValidator(_known_logger)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # numpy takes no others
Times = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class LearningRates(Section):
    """A learning rate for each trained module."""

    projector: float = Field(5e-5, gt=0)
    language: float = Field(2e-4, gt=0)
    vision: float = Field(1e-5, gt=0)


class ValidationSettings(Section):
    """When pictures that are kept from training are measured, and what follows from it."""

    data: Path | None = None  # a file of its own, else a share of the training pictures
    share: float = Field(0.05, ge=0, lt=1)  # of the pictures; 0 for no validation
    every: int | None = Field(None, ge=1)  # steps; a fifth of the run if not set
    best_by: Literal["loss", "metric"] = "loss"  # which weights are kept at the end
    patience: int | None = Field(None, ge=1)  # stop after so many validations without a better one


class QuestionValidation(ValidationSettings):
    """The same for questions and answers."""

    rows: int = Field(200, ge=1)  # most rows that are looked at
    # how an answer is compared with the data's, a metric of `vqa score`
    metric: Annotated[str, AfterValidator(_known_metric)] = "exact_match"


class WrittenValidation(QuestionValidation):
    """The same for answers that are written token by token."""

    max_new_tokens: int = Field(32, ge=1)


class RunSettings(Section, ABC):
    """What all trainings share."""

    # data
    data: Path | None = None  # pictures with what is said of them, in any known format
    images: Path | None = None  # root of the rows' pictures; the data file's folder if not set
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
    save_every: int = Field(200, ge=1)
    keep_checkpoints: int = Field(1, ge=1)
    log_every: int = Field(10, ge=1)
    loggers: list[Logger] = []  # of transformers' Trainer: tensorboard, wandb, ...
    seed: Seed = 0

    @abstractmethod
    def rows_of_step(self) -> int:
        """Rows of the data set that one optimizer step takes, over all processes."""


class QuestionSettings(RunSettings):
    """What all trainings on questions and answers share."""

    fetch: Literal["easy_vqa"] | None = None  # a public set to take where `data` names none
    validation: QuestionValidation = QuestionValidation()
    rows_per_step: int = Field(8, ge=1)

    def rows_of_step(self) -> int:
        return self.rows_per_step


class Augment(Section):
    """Other views of the training pictures than the whole: against learning few by heart."""

    # of each picture, drawn anew for each time it is seen; the whole picture is one of them
    views: int = Field(1, ge=1)
    smallest: float = Field(0.8, gt=0, le=1)  # share of width and height that a view keeps at least
    whole: tuple[str, ...] = ()  # sources whose pictures are never cut: where things are counted
    # sources, or all of them, that do not tell left from right: half of the parts are mirrored
    mirror: bool | tuple[str, ...] = False


class TrainSettings(QuestionSettings):
    """What pretraining and fine-tuning of a LLaVA model share besides."""

    repeat: dict[str, Times] = {}  # source -> how often its pictures come in an epoch; 0.5 is half
    augment: Augment = Augment()
    validation: WrittenValidation = WrittenValidation()
    # `words`: features begin as the words that the answers say of them; `as_is`: go on training
    projector_start: Literal["words", "as_is"] = "as_is"
    row_tokens: int = Field(512, ge=64)
    learning_rate: LearningRates = LearningRates()
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    attention: Literal["sdpa", "eager"] = "sdpa"  # others would let packed questions see each other
    gradient_checkpointing: bool = False  # half the speed, a fraction of the memory


class LoraSettings(Section):
    """LoRA on the linear layers of the language model (Hu et al. 2021), or a relative of it."""

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    kind: Literal["lora", "dora", "rslora"] = "lora"  # Liu et al. 2024; Kalajdzievski 2023
    layers: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
