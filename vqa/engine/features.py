"""Projected image tokens, computed once for each picture."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vqa.encoders import pictures_at_once
from vqa.engine.counts import Counts
from vqa.engine.memory import Bounded

if TYPE_CHECKING:
    from PIL import Image
    from transformers import LlavaForConditionalGeneration, LlavaProcessor


class Features:
    """Image tokens [N, Dt] by the picture's fingerprint, at most `limit` bytes of them."""

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        processor: LlavaProcessor,
        counts: Counts,
        limit: int,
    ) -> None:
        self._model = model
        self._processor: Any = processor.image_processor
        self._counts = counts
        self._held: Bounded[Tensor] = Bounded(limit)

    @torch.inference_mode()
    def of(self, images: Mapping[str, Image.Image]) -> dict[str, Tensor]:
        """Image tokens [N, Dt] of pictures, given by fingerprint; what is not held is encoded."""
        found = {key: self._held.get(key) for key in images}
        features = {key: value for key, value in found.items() if value is not None}
        missing = [key for key in images if key not in features]
        at_once = pictures_at_once(next(self._model.model.vision_tower.parameters()).device)
        for start in range(0, len(missing), at_once):
            part = missing[start : start + at_once]
            for key, tokens in zip(part, self._encode([images[k] for k in part]), strict=True):
                features[key] = tokens
                self._held.put(key, tokens, tokens.nbytes)
        return features

    def _encode(self, images: list[Image.Image]) -> list[Tensor]:
        began = perf_counter()
        pixels = self._processor(images, return_tensors="pt")["pixel_values"]  # [B, 3, H, W]
        weight = next(self._model.model.vision_tower.parameters())
        encoded = self._model.get_image_features(
            pixels.to(weight.device, weight.dtype), return_dict=True
        )
        # copies: a slice would keep the features of the whole batch alive
        features = [tokens.clone() for tokens in encoded.pooler_output]
        if weight.device.type == "cuda":
            torch.cuda.synchronize(weight.device)  # else its time would count as the prefill's
        self._counts.encoded_pictures += len(images)
        self._counts.encoder_seconds += perf_counter() - began
        return features

    def clear(self) -> None:
        """Forget all pictures."""
        self._held.clear()
