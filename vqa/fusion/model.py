"""The network: two streams, patches and question tokens, that look at each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from vqa.encoders import patch_features
from vqa.fusion.config import FusionConfig


class CoAttentionLayer(nn.Module):
    """One layer of both streams, after Lu et al. (2019), section 2.2.

    Each stream's queries meet the other's keys and values (co-attention), then each stream runs a
    transformer layer of its own. Normalised before and not behind each block (Xiong et al. 2020),
    which trains from random weights without a long warm-up. The `last` layer moves the text alone:
    the answer is read from there, and the image is most of the work.
    """

    def __init__(self, config: FusionConfig, last: bool) -> None:
        super().__init__()
        size, heads, dropout = config.hidden_size, config.heads, config.dropout
        self.last = last
        self.text_norm = nn.LayerNorm(size)
        self.image_norm = nn.LayerNorm(size)
        self.text_to_image = nn.MultiheadAttention(size, heads, dropout, batch_first=True)
        self.text_layer = transformer_layer(config)
        self.dropout = nn.Dropout(dropout)
        if not last:
            self.image_to_text = nn.MultiheadAttention(size, heads, dropout, batch_first=True)
            self.image_layer = transformer_layer(config)

    def forward(
        self, text: Tensor, image: Tensor, padding: Tensor, weights: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """`text` [B, T, D] and `image` [B, N, D] to the same; `padding` [B, T] is true outside.

        With `weights` the attention of tokens over patches comes too, [B, heads, T, N].
        """
        asking, shown = self.text_norm(text), self.image_norm(image)
        seen, attention = self.text_to_image(
            asking, shown, shown, need_weights=weights, average_attn_weights=False
        )  # [B, T, D]
        text = self.text_layer(text + self.dropout(seen), src_key_padding_mask=padding)
        if not self.last:
            read, _ = self.image_to_text(
                shown, asking, asking, key_padding_mask=padding, need_weights=False
            )  # [B, N, D]
            image = self.image_layer(image + self.dropout(read))
        return text, image, attention


def transformer_layer(config: FusionConfig) -> nn.TransformerEncoderLayer:
    """Self-attention and a feed-forward block of twice the width."""
    size = config.hidden_size
    return nn.TransformerEncoderLayer(
        size, config.heads, 2 * size, config.dropout, "gelu", batch_first=True, norm_first=True
    )


class FusionLayers(nn.Module):
    """All but the classifier. The names `vision_tower` and `multi_modal_projector` are LLaVA's."""

    def __init__(self, config: FusionConfig, tower: nn.Module, words: Tensor) -> None:
        super().__init__()
        size = config.hidden_size
        rows, columns = config.grid
        self.vision_tower = tower
        self.multi_modal_projector = nn.Sequential(
            nn.Linear(config.vision_size, size), nn.GELU(), nn.Linear(size, size)
        )
        self.patch_positions = nn.Parameter(torch.randn(rows * columns, size) * 0.02)
        # the language part's own embeddings, frozen: they are in its directory, not in this one's
        self.register_buffer("words", words, persistent=False)  # [V, Dw]
        self.word_projector = nn.Sequential(
            nn.LayerNorm(config.word_size), nn.Linear(config.word_size, size)
        )
        self.answer_token = nn.Parameter(torch.randn(size) * 0.02)
        self.token_positions = nn.Parameter(torch.randn(config.question_tokens + 1, size) * 0.02)
        self.text_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(config.dropout)
        self.text_layers = nn.ModuleList(
            transformer_layer(config) for _ in range(config.text_layers)
        )
        count = config.fusion_layers
        self.fusion_layers = nn.ModuleList(
            CoAttentionLayer(config, last=number == count - 1) for number in range(count)
        )
        self.answer_norm = nn.LayerNorm(size)
        self.image_norm = nn.LayerNorm(size)

    def forward(
        self, input_ids: Tensor, image: Tensor, weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Ids [B, T], -1 behind a question's end, and image states [B, N, D] to states [B, D].

        With `weights` the last layer's attention of tokens over patches too, [B, heads, 1 + T, N].
        """
        padding = F.pad(input_ids < 0, (1, 0), value=False)  # [B, 1 + T]
        text = self.word_projector(self.words[input_ids.clamp(min=0)].to(image.dtype))  # [B, T, D]
        text = torch.cat([self.answer_token.expand(len(text), 1, -1), text], dim=1)  # [B, 1 + T, D]
        text = self.dropout(self.text_norm(text + self.token_positions[: text.shape[1]]))
        for layer in self.text_layers:
            text = layer(text, src_key_padding_mask=padding)
        image = self.dropout(image)
        attention = None
        for layer in self.fusion_layers:
            text, image, attention = layer(text, image, padding, weights and layer.last)
        # Lu et al. multiply the two streams' summaries
        return self.answer_norm(text[:, 0]) * self.image_norm(image.mean(1)), attention


class FusionModel(PreTrainedModel):
    """A vision encoder, co-attention with the question, and a classifier over A answers."""

    config_class = FusionConfig
    config: FusionConfig
    main_input_name = "input_ids"

    def __init__(self, config: FusionConfig, tower: nn.Module, words: Tensor) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.model = FusionLayers(config, tower, words)
        self.classifier = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(size, 2 * size), nn.GELU(),
            nn.Dropout(config.dropout), nn.Linear(2 * size, config.answers),
        )  # fmt: skip

    def image_states(self, pixel_values: Tensor) -> Tensor:
        """Pictures [P, 3, H, W] to image states [P, N, D]."""
        features = patch_features(self, pixel_values)  # [P, N, Dv]
        states: Tensor = self.model.multi_modal_projector(features) + self.model.patch_positions
        return states

    def get_image_features(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """The same under the name and in the form that `vqa.engine.features` asks LLaVA for."""
        return BaseModelOutputWithPooling(pooler_output=self.image_states(pixel_values))

    def logits(self, input_ids: Tensor, image: Tensor) -> Tensor:
        """Ids [B, T], -1 behind a question's end, and image states [B, N, D] to logits [B, A]."""
        logits: Tensor = self.classifier(self.model(input_ids, image)[0])
        return logits

    def attention(self, input_ids: Tensor, image: Tensor) -> Tensor:
        """The last co-attention of the answer token and the question's tokens over the patches.

        [B, heads, 1 + T, N], rows of the grid first; every row of N sums to one.
        """
        _, attention = self.model(input_ids, image, weights=True)
        assert attention is not None
        return attention

    def forward(self, input_ids: Tensor, pixel_values: Tensor, pictures: Tensor) -> Tensor:
        """Logits [B, A] of questions [B, T] about `pixel_values` [P, 3, H, W].

        `pictures` [B] says which of the P pictures a question is about.
        """
        return self.logits(input_ids, self.image_states(pixel_values)[pictures])
