"""What a config of the recipe `align` may say."""

from __future__ import annotations

from typing import Literal

from accelerate import PartialState
from pydantic import Field, computed_field

from training.common.settings import EncoderTraining, RunSettings, Section, ValidationSettings
from vqa.alignment.joint import HeadConfig


class AlignRates(Section):
    """A learning rate for the heads and one for the encoder."""

    heads: float = Field(1e-3, gt=0)
    vision: float = Field(1e-5, gt=0)


class AlignValidationSettings(ValidationSettings):
    """What is measured on pictures held out of training."""

    pictures: int = Field(1000, ge=1)  # most that are looked at
    best_by: Literal["loss", "metric"] = "metric"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def metric(self) -> str:
        """What the answers are measured by, as the run's card calls it."""
        return "R@1, mean of both directions"


class AlignSettings(RunSettings):
    """The encoders to join and what is learned; the data are pictures and captions."""

    recipe: Literal["align"]
    vision: str = "embedded"
    text: str = "embedded"
    validation: AlignValidationSettings = AlignValidationSettings()
    # what learns
    heads: HeadConfig = HeadConfig()
    train: EncoderTraining = EncoderTraining()
    # how long, and how much at once
    epochs: float = Field(20.0, gt=0, allow_inf_nan=False)  # each of them is all captions once
    batch: int = Field(1024, ge=2)  # pairs of a step; all others of it are negatives
    # how fast
    learning_rate: AlignRates = AlignRates()
    weight_decay: float = Field(0.1, ge=0)

    def rows_of_step(self) -> int:
        """Count a batch for each process."""
        return PartialState().num_processes
