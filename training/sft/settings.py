"""What the configs of the recipes `pretrain` and `finetune` may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator

from training.common.settings import (
    AugmentSettings,
    QuestionSettings,
    QuestionValidationSettings,
    Section,
)
from vqa.inputs.tiles import MOST_TILES

Times = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# the names of settings of LoRA here, and in peft's `LoraConfig`
_PEFT_NAMES = {
    "rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "layers": "target_modules",
}  # fmt: skip


class LearningRates(Section):
    """A learning rate for each trained module."""

    projector: float = Field(5e-5, gt=0)
    language: float = Field(2e-4, gt=0)
    vision: float = Field(1e-5, gt=0)


class AnswerValidationSettings(QuestionValidationSettings):
    """The same for answers that are written token by token."""

    max_new_tokens: int = Field(32, ge=1)


class HintTrainSettings(Section):
    """Names of the encoder's classifier before the questions, and how often they are wrong."""

    most: int = Field(3, ge=1, le=20)  # names of a picture
    least: float = Field(0.08, gt=0, lt=1)  # probability of a name
    parts: float = Field(0.6, gt=0)  # probability of a name of a part; more than 1 for none
    # of all pictures, those of the validation too, whose loss is then of the same kind
    drop: float = Field(0.12, ge=0, lt=1)  # share of pictures that get none
    swap: float = Field(0.08, ge=0, lt=1)  # share that get those of another picture


class SftSettings(QuestionSettings):
    """What pretraining and fine-tuning of a LLaVA model share besides."""

    repeat: dict[str, Times] = {}  # source -> how often its pictures come in an epoch; 0.5 is half
    # at each visit of a picture so many of its questions at most, others at the next
    questions_per_visit: int | None = Field(None, ge=1)
    augment: AugmentSettings = AugmentSettings()
    validation: AnswerValidationSettings = AnswerValidationSettings()
    # `words`: features begin as the words that the answers say of them; `as_is`: go on training
    projector_start: Literal["words", "as_is"] = "as_is"
    row_tokens: int = Field(512, ge=64)
    rows_at_once: int = Field(1, ge=1)  # of a step's rows, in one forward pass: faster, more memory
    learning_rate: LearningRates = LearningRates()
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    attention: Literal["sdpa", "eager"] = "sdpa"  # others would let packed questions see each other
    gradient_checkpointing: bool = False  # half the speed, a fraction of the memory
    torch_compile: bool = False  # of the decoder's layers, for rows that are padded to one length

    def rows_of_pass(self) -> int:
        return self.rows_at_once


class LoraSettings(Section):
    """LoRA on the linear layers of the language model (Hu et al. 2021), or a relative of it."""

    rank: int = Field(16, ge=1, validation_alias=AliasChoices("rank", "r"))
    alpha: int = Field(32, ge=1, validation_alias=AliasChoices("alpha", "lora_alpha"))
    dropout: float = Field(
        0.0, ge=0, lt=1, validation_alias=AliasChoices("dropout", "lora_dropout")
    )
    kind: Literal["lora", "dora", "rslora"] = "lora"  # Liu et al. 2024; Kalajdzievski 2023
    layers: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        validation_alias=AliasChoices("layers", "target_modules"),
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_peft_names(cls, section: Any) -> Any:
        """Take `use_dora` and `use_rslora` as peft's `LoraConfig` does, and refuse doubles."""
        if not isinstance(section, dict):
            return section
        for own, alias in _PEFT_NAMES.items():
            if own in section and alias in section:
                raise ValueError(f"lora: {own} and {alias} are one setting: give one of them")
        flags = {kind: section.get(f"use_{kind}") for kind in ("dora", "rslora")}
        for kind, flag in flags.items():
            if flag is not None and not isinstance(flag, bool):
                raise ValueError(f"lora.use_{kind}: true or false, not {flag!r}")
        kinds = {section.get("kind", "lora"), *(kind for kind, flag in flags.items() if flag)}
        kinds -= {"lora"}
        if len(kinds) > 1 or any(flags.get(str(kind)) is False for kind in kinds):
            raise ValueError("lora: kind, use_dora and use_rslora name one kind: give one of them")
        rest = {
            key: value for key, value in section.items() if key.removeprefix("use_") not in flags
        }
        return rest | ({"kind": kinds.pop()} if kinds else {})


class PretrainSettings(SftSettings):
    """The parts to join, besides what every training says."""

    recipe: Literal["pretrain"]
    vision: str
    language: str
    tiles: int = Field(1, ge=1, le=MOST_TILES)  # that a large picture is cut into at most


class TrainedModules(Section):
    """Which modules learn."""

    language: Literal["lora", "full", "frozen"] = "lora"
    projector: bool = True
    vision: bool = False


class FinetuneSettings(SftSettings):
    """The model to start from and what learns of it, besides what every training says."""

    recipe: Literal["finetune"]
    model: str
    adapter: str | None = None  # a run on the same model to go on from; the optimizer begins anew
    train: TrainedModules = TrainedModules()
    hints: HintTrainSettings | None = None  # as the model was trained, if not set
    quantize: Literal["4bit", "8bit"] | None = None  # the frozen language model under LoRA: QLoRA
    lora: LoraSettings = LoraSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> FinetuneSettings:
        learns = self.train
        if learns.language == "frozen" and not (learns.projector or learns.vision):
            raise ValueError("train: nothing would learn; set language, projector or vision")
        if learns.language != "lora" and self.adapter:
            raise ValueError("adapter: it is gone on from with train.language=lora alone")
        if learns.language != "lora" and self.quantize:
            raise ValueError("quantize: quantized weights cannot learn; use train.language=lora")
        if self.projector_start == "words" and not learns.projector:
            raise ValueError("projector_start: words changes the projector; set train.projector")
        if self.projector_start == "words" and learns.vision:
            raise ValueError("projector_start: words needs a frozen encoder; use as_is")
        return self
