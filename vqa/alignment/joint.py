"""A dual encoder: a vision and a text encoder with a projector each into one space.

Two frozen encoders that were trained apart and small trained heads suffice (Zhai et al. 2022,
"LiT"; here the heads alone are trained, unless the vision encoder is trained too).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from vqa.models.encoders import TimmVisionModel

_INITIAL_SCALE = {"contrastive": 20.0, "sigmoid": 10.0}
_INITIAL_BIAS = -10.0  # as in SigLIP: nearly all pairs are wrong ones
_MAX_SCALE = 100.0


class HeadConfig(BaseModel):
    """How the heads of a dual encoder are built; it is part of its config.json."""

    model_config = ConfigDict(extra="forbid")

    dim: int = Field(256, ge=1, le=1 << 16)  # d: of the shared space
    projector: Literal["linear", "mlp"] = "mlp"
    hidden: int = Field(512, ge=1, le=1 << 16)  # of an MLP
    dropout: float = Field(0.0, ge=0, lt=1)  # of features and hidden units
    loss: Literal["contrastive", "sigmoid"] = "contrastive"


class ProjectionHead(nn.Module):
    """Projects normalised features to the shared space: linearly, for `mlp` with a second path."""

    def __init__(self, width: int, shape: HeadConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))  # [F]
        self.register_buffer("std", torch.ones(width))  # [F]
        self.dropout = nn.Dropout(shape.dropout)
        self.linear = nn.Linear(width, shape.dim)
        self.mlp: nn.Module | None = None
        if shape.projector == "mlp":
            self.mlp = nn.Sequential(
                nn.Linear(width, shape.hidden),
                nn.GELU(),
                nn.Dropout(shape.dropout),
                nn.Linear(shape.hidden, shape.dim),
            )

    def forward(self, features: Tensor) -> Tensor:
        """Map `features` [B, F] to unit vectors [B, d]."""
        features = self.dropout((features - self.mean) / self.std)
        projected = self.linear(features)  # [B, d]
        if self.mlp is not None:
            projected = projected + self.mlp(features)
        return F.normalize(projected, dim=-1)

    @torch.no_grad()
    def calibrate(self, features: Tensor) -> None:
        """Set the statistics of the channels from `features` [many, F]."""
        self.mean.copy_(features.mean(0))
        # a channel that hardly moves carries nothing: do not blow its noise up
        self.std.copy_(features.var(0, correction=0).clamp(min=1e-6).sqrt())


class ClassNames(nn.Module):
    """The names of the classes that the encoder's classifier sees in a picture, as a mean vector.

    Norouzi et al. (2013), "Zero-Shot Learning by Convex Combination of Semantic Embeddings": each
    class name counts by its probability. Things that occur in no caption so have a place near their
    names.
    """

    def __init__(self, weight: Tensor, bias: Tensor, text_width: int) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)  # [K, D], of the base part
        self.register_buffer("bias", bias, persistent=False)  # [K]
        self.register_buffer("vectors", torch.zeros(len(weight), text_width))  # [K, Dt]

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled features [B, D] of the encoder's last map to [B, Dt]."""
        return F.linear(pooled, self.weight, self.bias).softmax(-1) @ self.vectors


class JointModel(nn.Module):
    """The encoders and their heads; the methods are named as those of CLIP in transformers."""

    def __init__(
        self, vision: Any, text: Any, shape: HeadConfig, classifier: dict[str, Tensor] | None = None
    ) -> None:
        """`classifier` is the head, `weight` and `bias`, that a timm encoder was trained with."""
        super().__init__()
        self.shape = shape
        self.vision_tower = vision.eval().requires_grad_(False)
        self.text_tower = text.eval().requires_grad_(False)
        picture_width, text_width = _widths(vision, text)
        self.class_names: ClassNames | None = None
        if classifier is not None:
            name_width = text.config.hidden_size
            self.class_names = ClassNames(classifier["weight"], classifier["bias"], name_width)
            picture_width += name_width
        self.picture_head = ProjectionHead(picture_width, shape)
        self.text_head = ProjectionHead(text_width, shape)
        self.logit_scale = nn.Parameter(torch.tensor(_INITIAL_SCALE[shape.loss]).log())
        self.logit_bias = (
            nn.Parameter(torch.tensor(_INITIAL_BIAS)) if shape.loss == "sigmoid" else None
        )

    @property
    def scale(self) -> Tensor:
        """The inverse temperature, up to CLIP's limit: larger ones make training unstable."""
        return self.logit_scale.exp().clamp(max=_MAX_SCALE)

    def train(self, mode: bool = True) -> JointModel:
        """Set the mode, but of frozen encoders: nothing in them shall be random."""
        super().train(mode)
        for tower in (self.vision_tower, self.text_tower):
            tower.train(mode and any(p.requires_grad for p in tower.parameters()))
        return self

    def forward(self, pictures: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Map pixels [B, 3, H, W] or features [B, F], and text features [B, F], to [B, d].

        For training, where features of frozen encoders are computed once.
        """
        if pictures.ndim == 4:
            pictures = self.picture_features(pictures)
        return self.picture_head(pictures), self.text_head(texts)

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Encode pictures [B, 3, H, W] as unit vectors [B, d]."""
        return self.picture_head(self.picture_features(pixel_values))

    def picture_features(self, pixel_values: Tensor) -> Tensor:
        """Encode pictures [B, 3, H, W] as the features [B, F] that the head takes."""
        features = picture_features(self.vision_tower, pixel_values)
        if self.class_names is None:
            return features
        tower, width = self.vision_tower, self.class_names.weight.shape[1]
        # the mean over the patches comes first; the classifier takes it as it was before
        # normalisation, and of the joined maps only the last, which is the first of them
        pooled = features[:, :width] * tower.feature_std[:width] + tower.feature_mean[:width]
        return torch.cat([features, self.class_names(pooled)], dim=1)

    def get_text_features(self, **tokens: Tensor) -> Tensor:
        """Encode tokenized texts as unit vectors [B, d]."""
        return self.text_head(text_features(self.text_tower, **tokens))

    def trained_state(self) -> dict[str, Tensor]:
        """Return the weights to save: the heads, the temperature, and trained encoders."""
        trainable = {name for name, p in self.named_parameters() if p.requires_grad}
        return {
            name: value
            for name, value in self.state_dict().items()
            if name in trainable or not name.startswith(("vision_tower.", "text_tower."))
        }


def picture_features(tower: Any, pixel_values: Tensor) -> Tensor:
    """Compute one vector [B, F] for each picture [B, 3, H, W].

    Of a timm backbone mean and maximum over its patches, of other towers what they pool themselves,
    or the mean over their tokens.
    """
    outputs = tower(pixel_values)
    if isinstance(tower, TimmVisionModel):
        patches = outputs.last_hidden_state  # [B, N, Dv]
        return torch.cat([patches.mean(1), patches.amax(1)], dim=1)  # [B, 2 Dv]
    pooled = getattr(outputs, "pooler_output", None)
    return outputs.last_hidden_state.mean(1) if pooled is None else pooled


def text_features(tower: Any, attention_mask: Tensor, **tokens: Tensor) -> Tensor:
    """Compute the features [B, 4 Dt] of texts that the head takes.

    Over its tokens mean and maximum of the last layer, and the means of the middle layer and of the
    embeddings: the first layers distinguish words that have the same meaning in the last.
    """
    layers = tower(attention_mask=attention_mask, output_hidden_states=True, **tokens).hidden_states
    mask = attention_mask[..., None].bool()  # [B, T, 1]
    last = layers[-1]  # [B, T, Dt]
    highest = last.masked_fill(~mask, torch.finfo(last.dtype).min).amax(1)  # [B, Dt]
    means = [_mean(layer, mask) for layer in (last, layers[len(layers) // 2], layers[0])]
    return torch.cat([means[0], highest, *means[1:]], dim=1)


def sentence_vectors(tower: Any, attention_mask: Tensor, **tokens: Tensor) -> Tensor:
    """Encode texts as sentence encoders do: the means over the last layer, [B, Dt], unit length."""
    last = tower(attention_mask=attention_mask, **tokens).last_hidden_state  # [B, T, Dt]
    return F.normalize(_mean(last, attention_mask[..., None].bool()), dim=-1)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average `hidden` [B, T, D] over the tokens of `mask` [B, T, 1]."""
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)  # [B, D]


@torch.inference_mode()
def _widths(vision: Any, text: Any) -> tuple[int, int]:
    """Return F of both encoders, measured on one empty input."""
    side = vision.config.image_size
    height, width = (side, side) if isinstance(side, int) else side
    pixels = torch.zeros(1, 3, height, width, dtype=vision.dtype)
    tokens = torch.ones(1, 2, dtype=torch.long)
    return (
        picture_features(vision, pixels).shape[1],
        text_features(text, attention_mask=tokens, input_ids=tokens).shape[1],
    )
