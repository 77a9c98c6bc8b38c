"""What every training config may say; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LearningRates(BaseModel):
    """A learning rate for each trained module."""

    model_config = ConfigDict(extra="forbid")

    projector: float = Field(5e-5, gt=0)
    language: float = Field(2e-4, gt=0)


class TrainSettings(BaseModel):
    """What pretraining and fine-tuning share."""

    model_config = ConfigDict(extra="forbid")

    # data
    data: Path | None = None  # JSONL rows: image, question, answer
    images: Path | None = None  # root of the rows' pictures; the data file's folder if not set
    repeat: dict[str, float] = {}  # source -> how often its pictures come in an epoch; 0.5 is half
    # `words`: features begin as the words that the answers say of them; `as_is`: go on training
    projector_start: Literal["words", "as_is"] = "as_is"
    # where the run goes
    output: Path
    # how long
    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, gt=0)
    # how much at once
    row_tokens: int = Field(512, ge=64)
    rows_per_step: int = Field(8, ge=1)
    # how fast
    learning_rate: LearningRates = LearningRates()
    warmup_steps: int = Field(30, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    # the machine
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    device: str = "auto"
    # the run
    save_every: int = Field(200, ge=1)
    keep_checkpoints: int = Field(1, ge=1)
    log_every: int = Field(10, ge=1)
    seed: int = 0


class LoraSettings(BaseModel):
    """LoRA on the linear layers of the language model (Hu et al. 2021)."""

    model_config = ConfigDict(extra="forbid")

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    layers: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
