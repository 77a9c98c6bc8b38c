"""What a config of the recipe `fusion` may say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.common.settings import EncoderTraining, QuestionSettings, Section


class AnswerClassSettings(Section):
    """Which answers of the training data become classes."""

    least: int = Field(2, ge=1)  # rows that give it
    most: int | None = Field(3000, ge=2)  # the most frequent ones


class NetworkSettings(Section):
    """The sizes of the network."""

    hidden_size: int = Field(128, ge=8)
    heads: int = Field(4, ge=1)
    text_layers: int = Field(1, ge=1)
    fusion_layers: int = Field(2, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    question_tokens: int = Field(64, ge=4)  # of the longest question


class FusionRates(Section):
    """A learning rate for what is new and one for the encoder."""

    fusion: float = Field(5e-4, gt=0)
    vision: float = Field(1e-5, gt=0)


class FusionSettings(QuestionSettings):
    """The parts to stand on and what is learned, besides what every training says."""

    recipe: Literal["fusion"]
    vision: str = "embedded"
    language: str = "embedded"
    train: EncoderTraining = EncoderTraining()
    answers: AnswerClassSettings = AnswerClassSettings()
    network: NetworkSettings = NetworkSettings()
    row_questions: int = Field(64, ge=1)  # that run at once
    learning_rate: FusionRates = FusionRates()
    weight_decay: float = Field(0.05, ge=0)
