"""The recipe `pretrain`, the first stage of LLaVA (Liu et al. 2023).

Only the projector learns, between a frozen encoder and a frozen language model. A plain LLaVA
directory comes out.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import nn
from transformers import LlavaProcessor

from training.common.memory import own_memory
from training.common.processes import device_of
from training.common.recipe import ModelCard
from training.sft.data import SftPlan
from training.sft.model import SftRecipe
from training.sft.packing import set_attention
from training.sft.settings import PretrainSettings
from vqa.models.devices import dtype_of
from vqa.models.llava import ComposedModel, compose, freeze
from vqa.utils import fingerprint


class PretrainRecipe(SftRecipe[PretrainSettings]):
    """Train the projector between a frozen encoder and a frozen language model."""

    settings_class = PretrainSettings

    @cached_property
    def _composed(self) -> ComposedModel:
        settings = self.settings
        self.process_bytes = own_memory()
        composed = compose(
            settings.vision, settings.language, dtype=torch.float32, seed=settings.seed,
            tiles=settings.tiles,
        )  # fmt: skip
        model, device = composed.model, device_of(settings)
        model.to(device, dtype_of(settings.dtype, model.config, str(device)))
        set_attention(model, settings.attention)
        return composed

    @property
    def config(self) -> Any:
        return self._composed.model.config

    @property
    def processor(self) -> LlavaProcessor:
        return self._composed.processor

    @cached_property
    def model_fingerprint(self) -> str:
        return fingerprint.of_module(self._composed.model)

    def build(self, plan: SftPlan) -> Any:
        """Compose the parts."""
        return self._composed.model

    def set_trainable(self, model: nn.Module, settings: PretrainSettings) -> nn.Module:
        """Let the projector learn."""
        freeze(model, trainable=("multi_modal_projector",))
        return model

    def card(self, plan: SftPlan) -> ModelCard:
        """Describe the result for its model card."""
        return ModelCard(f"{self.settings.vision} and {self.settings.language}", "a new projector")
