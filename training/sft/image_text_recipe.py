"""The recipe `finetune` for models of other kinds than LLaVA, whatever their architecture.

`vqa.models.submodules` finds what such a model is made of, its own processor prepares what it
takes. All else is as for LLaVA.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from accelerate.utils import send_to_device
from transformers import AutoModelForImageTextToText

from training.common.timing import timed
from training.sft.conversations import (
    ConversationRows,
    ConversationTrainer,
    encode_conversation,
    row_losses,
)
from training.sft.data import RowEncoder, SftPlan
from training.sft.estimates import forward_text
from training.sft.finetune import FinetuneRecipe
from training.sft.lora import layers_without_lora
from training.sft.model import RowMaker
from training.sft.settings import FinetuneSettings
from vqa.errors import InputError
from vqa.models import image_text
from vqa.models.submodules import submodules

_TIMED = 3  # rows
# settings that change what LLaVA's packed rows, features or projector are
_LLAVA_ONLY = ("hints", "questions_per_visit", "projector_start", "torch_compile", "rows_at_once")


class ImageTextRecipe(FinetuneRecipe):
    """Train LoRA layers or the language model of any vision-language model."""

    loader = image_text
    trainer_class = ConversationTrainer
    classifier = None

    def __init__(self, settings: FinetuneSettings) -> None:
        super().__init__(settings)
        for name in _LLAVA_ONLY:
            if getattr(settings, name) != FinetuneSettings.model_fields[name].default:
                raise InputError(
                    f"{name}: of LLaVA models alone; leave it out for {settings.model}"
                )

    def encoder(self) -> RowEncoder:
        """Make what encodes the rows, one by one."""
        processor = self.processor
        context = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return RowEncoder(
            processor,
            context,
            lambda example: [encode_conversation(example, processor)],
            shared_token=None,
            opens_pictures=True,
        )

    def row_maker(self, plan: SftPlan, model: Any) -> RowMaker:
        """Make what puts conversations into rows."""
        return lambda tokens, groups, layout, view: ConversationRows(
            tokens, groups, layout, self.processor, model.dtype, view
        )

    def set_trainable(self, model: Any, settings: FinetuneSettings) -> Any:
        """Set what learns; return the model, or a peft model around it."""
        parts = submodules(model)
        if settings.train.vision and parts.vision is None:
            raise InputError(f"train.vision: no encoder of its own is in {settings.model}")
        return super().set_trainable(model, settings)

    def freeze_unused(self, model: Any) -> None:
        """Freeze nothing: the trainer gives every module a gradient."""

    def while_training(self, model: Any) -> AbstractContextManager[None]:
        """Change nothing: the encoder runs in every step."""
        return nullcontext()

    def remarks(self, plan: SftPlan) -> list[str]:
        """List the linear layers that get no LoRA, and what the estimate of memory leaves out."""
        lines = []
        if self.settings.train.language == "lora":
            with torch.device("meta"):
                model = AutoModelForImageTextToText.from_config(
                    self.config, trust_remote_code=False
                )
            if left := layers_without_lora(model, self.settings.lora):
                lines.append(
                    f"lora.layers: the language model's layers {', '.join(left)} get no LoRA; "
                    "name them there, too, if they should"
                )
        if self.settings.train.vision:
            lines.append(
                "train.vision: the memory that the encoder's own activations take is not counted"
            )
        return lines

    def forward(self, model: Any, length: int, dtype: torch.dtype) -> None:
        """Run a row of `length` tokens through a model of fake tensors, for an estimate."""
        forward_text(model, length, dtype)

    def seconds(self, plan: SftPlan) -> float:
        """Estimate the time of all rows, from some that are tried."""
        model = self.build(plan)
        rows = self.row_maker(plan, model)(plan.tokens, plan.groups, plan.layout, plan.view)
        trained = self.set_trainable(model, self.settings).train()

        def step(number: int) -> None:
            row = send_to_device(rows[number], model.device)
            with torch.autocast(
                model.device.type, torch.bfloat16, enabled=rows.dtype == torch.bfloat16
            ):
                losses, weights = row_losses(trained, model, row)
            (losses * weights).sum().backward()
            trained.zero_grad()

        tried = [*range(0, len(rows), max(1, len(rows) // _TIMED))][:_TIMED]
        return sum(timed(partial(step, number)) for number in tried) / len(tried) * len(rows)
