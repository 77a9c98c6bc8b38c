"""Two EfficientNets as one backbone of timm, for a trial of `design_trials.py`.

`python -m benchmarks.joined_encoder ARGUMENTS` is `vqa ARGUMENTS` in a process that knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.models import register_model
from torch import Tensor, nn

NAME = "lite2_and_lite0"


class JoinedBackbone(nn.Module):
    """Runs Lite2 and Lite0 on the same pixels; their maps are joined, the last one of both."""

    def __init__(self) -> None:
        super().__init__()
        self.lite2 = timm.create_model("tf_efficientnet_lite2", num_classes=0)
        self.lite0 = timm.create_model("tf_efficientnet_lite0", num_classes=0)
        self.num_features: int = self.lite2.num_features + self.lite0.num_features
        self.pretrained_cfg: dict[str, Any] = self.lite2.pretrained_cfg

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] to the last maps of both [B, D, h, w]."""
        return torch.cat([m.forward_features(pixels) for m in (self.lite2, self.lite0)], dim=1)

    def forward_intermediates(
        self, pixels: Tensor, indices: Sequence[int], norm: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """The same, and the maps of the stages `indices` of each."""
        both = (self.lite2, self.lite0)
        found = [m.forward_intermediates(pixels, indices=indices, norm=norm) for m in both]
        return torch.cat([last for last, _ in found], dim=1), [m for _, maps in found for m in maps]


@register_model
def lite2_and_lite0(pretrained: bool = False, **_: Any) -> JoinedBackbone:
    """What timm calls for the name of the backbone; weights are loaded by whoever has them."""
    return JoinedBackbone()


if __name__ == "__main__":
    from vqa.cli import main

    main()
