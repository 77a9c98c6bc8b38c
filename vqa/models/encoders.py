"""Vision encoders behind one contract: a picture tensor becomes patch features [B, N, Dv].

CLIP, SigLIP, DINOv2 and ViT towers are used as transformers gives them. Any other backbone that
timm knows, CNN or ViT, goes through `TimmVisionModel`, which looks like a transformers tower to
LLaVA: `hidden_states[-1]` is the patch features and nothing has to be cut off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from vqa.errors import InputError


class TimmVisionConfig(PreTrainedConfig):
    """A timm backbone as a LLaVA vision tower.

    `stages` are indices of timm's `forward_intermediates` whose maps are pooled to the last map's
    grid and joined with it: a CNN's last map has lost colour, texture and small things that its
    earlier maps still have. `patch_size` is the side of one feature's cell in pixels.
    """

    model_type = "timm_vision"

    def __init__(
        self,
        backbone: str = "tf_efficientnet_lite0",
        image_size: int = 224,
        patch_size: int = 32,
        hidden_size: int = 1280,
        stages: Iterable[int] = (),
        image_mean: Iterable[float] = (0.5, 0.5, 0.5),
        image_std: Iterable[float] = (0.5, 0.5, 0.5),
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_size = hidden_size
        self.stages = list(stages)
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        super().__init__(**kwargs)


class TimmVisionModel(PreTrainedModel):
    """Patch features of a timm backbone, normalised per channel.

    The statistics of the channels are part of the weights (`calibrate`): joined stages differ by
    orders of magnitude in scale, and a projector learns from them only when they are alike.
    """

    config_class = TimmVisionConfig
    config: TimmVisionConfig
    base_model_prefix = "timm_vision"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["TimmVisionModel"]

    def __init__(self, config: TimmVisionConfig) -> None:
        super().__init__(config)
        self.backbone = _create_backbone(config.backbone, config.image_size, pretrained=False)
        self.register_buffer("feature_mean", torch.zeros(config.hidden_size))  # [Dv]
        self.register_buffer("feature_std", torch.ones(config.hidden_size))  # [Dv]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Fill tables that no file holds (relative positions, rotary angles); timm did the rest.

        `from_pretrained` makes the model without memory and leaves such buffers undefined.
        """
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()

    @classmethod
    def from_timm(
        cls, name: str, image_size: int, stages: Iterable[int] = (), pretrained: bool = False
    ) -> TimmVisionModel:
        """Wrap the timm backbone `name` for pictures of `image_size` pixels a side."""
        backbone = _create_backbone(name, image_size, pretrained)
        stages = list(stages)
        with torch.no_grad():
            features = _joined_maps(
                backbone.eval(), torch.zeros(1, 3, image_size, image_size), stages
            )
        _, hidden_size, rows, columns = features.shape
        if rows != columns:
            raise InputError(
                f"timm backbone {name}: its feature map {rows}x{columns} is not square"
            )
        config = TimmVisionConfig(
            backbone=name,
            image_size=image_size,
            # LLaVA's processor counts (image_size // patch_size) ** 2 image tokens
            patch_size=image_size // rows,
            hidden_size=hidden_size,
            stages=stages,
            image_mean=backbone.pretrained_cfg["mean"],
            image_std=backbone.pretrained_cfg["std"],
        )
        if (image_size // config.patch_size) ** 2 != rows * columns:
            raise InputError(
                f"timm backbone {name}: {image_size} pixels give a {rows}x{columns} map, which no "
                f"whole patch size explains; use a multiple of {config.patch_size + 1}"
            )
        model = cls(config)
        model.backbone.load_state_dict(backbone.state_dict())
        return model.eval()

    def train(self, mode: bool = True) -> TimmVisionModel:
        """Follow `mode`, but for a frozen backbone, and for BatchNorm: its statistics never move.

        A training's batches are a few pictures, too few to measure anything.
        """
        frozen = not any(parameter.requires_grad for parameter in self.backbone.parameters())
        super().train(mode and not frozen)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """Encode `pixel_values` [B, 3, H, W] as features [B, N, Dv], rows of the grid first."""
        # convolutions on a CPU run several times faster with the channels last in memory
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        maps = _joined_maps(self.backbone, pixel_values, self.config.stages)  # [B, Dv, h, w]
        features = maps.flatten(2).transpose(1, 2)  # [B, N, Dv]
        features = (features - self.feature_mean) / self.feature_std
        return BaseModelOutput(last_hidden_state=features, hidden_states=(features,))

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Set the statistics of the channels from pictures, given as batches [B, 3, H, W]."""
        count, total, squares = 0, 0.0, 0.0
        for pixel_values in batches:
            pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
            maps = _joined_maps(self.backbone, pixel_values, self.config.stages)
            values = maps.double().flatten(2).transpose(1, 2).flatten(0, 1)  # [B * N, Dv]
            count += len(values)
            total = total + values.sum(0)
            squares = squares + values.square().sum(0)
        if not count:
            raise InputError("calibration needs at least one picture")
        mean = torch.as_tensor(total / count)
        variance = torch.as_tensor(squares / count) - mean.square()
        self.feature_mean.copy_(mean)
        # a channel that hardly moves carries nothing: do not blow its noise up
        self.feature_std.copy_(variance.clamp(min=1e-4).sqrt())


AutoConfig.register(TimmVisionConfig.model_type, TimmVisionConfig)
AutoModel.register(TimmVisionConfig, TimmVisionModel)


def _create_backbone(name: str, image_size: int, pretrained: bool) -> nn.Module:
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:3]
        hint = f"; near: {', '.join(near)}" if near else ""
        raise InputError(f"timm has no backbone named {name}{hint}")
    try:
        try:  # ViTs need the size to make their position embeddings, CNNs take any
            return timm.create_model(
                name, pretrained=pretrained, num_classes=0, img_size=image_size
            )
        except TypeError:
            return timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"timm backbone {name} cannot be made: {reason}") from error


def _joined_maps(backbone: nn.Module, pixel_values: Tensor, stages: list[int]) -> Tensor:
    """Join the last feature map with the pooled maps of `stages` behind it, [B, Dv, h, w]."""
    if stages:
        last, maps = backbone.forward_intermediates(pixel_values, indices=stages, norm=False)
    else:
        last, maps = backbone.forward_features(pixel_values), []
    if last.ndim == 3:  # a ViT: [B, prefix + N, D]
        last = last[:, getattr(backbone, "num_prefix_tokens", 0) :]
        side = int(last.shape[1] ** 0.5)
        last = last.transpose(1, 2).unflatten(2, (side, side))  # [B, D, h, w]
    elif last.shape[1] != backbone.num_features:  # channels last, as in Swin
        last = last.permute(0, 3, 1, 2)  # [B, D, h, w]
    grid = last.shape[-2:]
    return torch.cat([last, *(F.adaptive_avg_pool2d(m, grid) for m in maps)], dim=1)


@dataclass(frozen=True)
class EncoderSpec:
    """Where in a tower's hidden states its patch features are, and how many."""

    hidden_size: int  # Dv
    patches: int  # N
    image_size: int
    patch_size: int
    feature_layer: int
    select: Literal["default", "full"]  # "default" drops one class token
    class_tokens: int


# model type -> (hidden state that LLaVA models read, tokens before the patches)
_NATIVE = {
    "clip_vision_model": (-2, 1),
    "siglip_vision_model": (-1, 0),
    "dinov2": (-1, 1),
    "vit": (-1, 1),
    TimmVisionConfig.model_type: (-1, 0),
}


def encoder_spec(config: PreTrainedConfig) -> EncoderSpec:
    """Describe the tower of `config`; InputError where LLaVA cannot take it."""
    if config.model_type not in _NATIVE:
        raise InputError(
            f"vision encoder of type {config.model_type} cannot feed LLaVA: use CLIP, SigLIP, "
            "DINOv2 or ViT, or any timm backbone as timm:NAME"
        )
    layer, class_tokens = _NATIVE[config.model_type]
    side = config.image_size // config.patch_size
    return EncoderSpec(
        hidden_size=config.hidden_size,
        patches=side * side,
        image_size=config.image_size,
        patch_size=config.patch_size,
        feature_layer=layer,
        select="default" if class_tokens else "full",
        class_tokens=class_tokens,
    )


def encoder_batch_size(device: torch.device) -> int:
    """Return the batch size with which an encoder takes the most pictures a second.

    On a CPU the maps of more would not stay in its caches: EfficientNet-Lite2 takes 1.6 times as
    long for each of eight as for each of two.
    """
    return 2 if device.type == "cpu" else 16


def patch_features(model: nn.Module, pixel_values: Tensor) -> Tensor:
    """Compute the features [B, N, Dv] that the projector reads of pictures [B, 3, H, W].

    The same selection as `LlavaModel.get_image_features`, without the projector.
    """
    config = model.config
    layers = config.vision_feature_layer
    tower = model.model.vision_tower
    hidden_states = tower(pixel_values, output_hidden_states=True).hidden_states
    chosen = [layers] if isinstance(layers, int) else layers
    start = 1 if config.vision_feature_select_strategy == "default" else 0
    return torch.cat([hidden_states[layer][:, start:] for layer in chosen], dim=-1)
