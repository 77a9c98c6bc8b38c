"""`config.json` of a fusion model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from transformers import AutoConfig, PreTrainedConfig

from vqa.models.model_files import FUSION


class FusionConfig(PreTrainedConfig):
    """The sizes of a fusion model, and the names of the parts that it stands on.

    `vision` and `language` are names as `open_parts` takes them. `own_vision`: the encoder was
    trained too, and its weights are with the model's. `answer_temperature` divides the
    logits, so that probabilities are the chance to be right.
    """

    model_type = FUSION

    def __init__(
        self,
        vision: str = "embedded",
        language: str = "embedded",
        own_vision: bool = False,
        vision_feature_layer: int = -1,
        vision_feature_select_strategy: Literal["default", "full"] = "full",
        vision_size: int = 1,
        grid: Sequence[int] = (1, 1),
        word_size: int = 1,
        hidden_size: int = 256,
        heads: int = 4,
        text_layers: int = 1,
        fusion_layers: int = 2,
        dropout: float = 0.1,
        question_tokens: int = 64,
        answers: int = 1,
        answer_temperature: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.vision = vision
        self.language = language
        self.own_vision = own_vision
        self.vision_feature_layer = vision_feature_layer
        self.vision_feature_select_strategy = vision_feature_select_strategy
        self.vision_size = vision_size  # Dv
        self.grid = list(grid)  # rows and columns of patches, h * w = N
        self.word_size = word_size  # Dw
        self.hidden_size = hidden_size  # D
        self.heads = heads
        self.text_layers = text_layers
        self.fusion_layers = fusion_layers
        self.dropout = dropout
        self.question_tokens = question_tokens
        self.answers = answers  # A
        self.answer_temperature = answer_temperature
        super().__init__(**kwargs)


AutoConfig.register(FUSION, FusionConfig)
