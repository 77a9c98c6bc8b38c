"""The network: two streams, patches and question tokens, that attend to each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from vqa.fusion.config import FusionConfig
from vqa.models.encoders import patch_features


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
        """Run `text` [B, T, D] and `image` [B, N, D]; `padding` [B, T] is true outside questions.

        With `weights` the attention of tokens over patches is returned too, [B, heads, T, N].
        """
        tokens, patches = self.text_norm(text), self.image_norm(image)
        attended, attention = self.text_to_image(
            tokens, patches, patches, need_weights=weights, average_attn_weights=False
        )  # [B, T, D]
        text = self.text_layer(text + self.dropout(attended), src_key_padding_mask=padding)
        if not self.last:
            attended, _ = self.image_to_text(
                patches, tokens, tokens, key_padding_mask=padding, need_weights=False
            )  # [B, N, D]
            image = self.image_layer(image + self.dropout(attended))
        return text, image, attention


def transformer_layer(config: FusionConfig) -> nn.TransformerEncoderLayer:
    """Make self-attention and a feed-forward block of twice the width."""
    size = config.hidden_size
    return nn.TransformerEncoderLayer(
        size, config.heads, 2 * size, config.dropout, "gelu", batch_first=True, norm_first=True
    )


class FusionLayers(nn.Module):
    """All but the classifier; `vision_tower` and `multi_modal_projector` are named as LLaVA's."""

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
        """Map ids [B, T], -1 behind a question's end, and image states [B, N, D] to states [B, D].

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
        """Encode pictures [P, 3, H, W] as image states [P, N, D]."""
        features = patch_features(self, pixel_values)  # [P, N, Dv]
        states: Tensor = self.model.multi_modal_projector(features) + self.model.patch_positions
        return states

    def get_image_features(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Return image states as `LlavaForConditionalGeneration` does, for `ImageTokenCache`."""
        return BaseModelOutputWithPooling(pooler_output=self.image_states(pixel_values))

    def logits(self, input_ids: Tensor, image: Tensor) -> Tensor:
        """Map ids [B, T], -1 behind questions, and image states [B, N, D] to logits [B, A]."""
        logits: Tensor = self.classifier(self.model(input_ids, image)[0])
        return logits

    def attention(self, input_ids: Tensor, image: Tensor) -> Tensor:
        """Compute the last co-attention of answer token and question tokens over the patches.

        [B, heads, 1 + T, N], rows of the grid first; every row of N sums to one.
        """
        _, attention = self.model(input_ids, image, weights=True)
        assert attention is not None
        return attention

    def forward(self, input_ids: Tensor, pixel_values: Tensor, pictures: Tensor) -> Tensor:
        """Compute logits [B, A] of questions [B, T] about `pixel_values` [P, 3, H, W].

        `pictures` [B] says which of the P pictures a question is about.
        """
        return self.logits(input_ids, self.image_states(pixel_values)[pictures])


def fit_temperature(logits: Tensor, right: Tensor) -> float:
    """Fit what to divide logits [R, A] by, from whether each row's likeliest answer is `right` [R].

    Temperature scaling (Guo et al. 2017, arXiv:1706.04599), with one difference: the likelihood is
    that of right or wrong and not of the true class. Rows whose true answer is no class at all
    count too, so the probability covers them. `right` is 0 to 1, drawn in a little as Platt (1999)
    does, as if one more row were right and one more wrong: few rows, all right, prove no certainty.
    """
    logits, right = logits.double(), right.double()
    hits, misses = right.sum(), (1 - right).sum()
    right = right * (hits + 1) / (hits + 2) + (1 - right) / (misses + 2)
    candidates = torch.logspace(-1, 1, 400, dtype=torch.float64)
    losses = torch.stack([_loss(logits / value, right) for value in candidates])  # [steps]
    return float(candidates[int(losses.argmin())])


def _loss(logits: Tensor, right: Tensor) -> Tensor:
    top = logits.softmax(-1).max(-1).values.clamp(1e-9, 1 - 1e-9)  # [R]
    return F.binary_cross_entropy(top, right)
