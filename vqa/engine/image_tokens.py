"""Pictures as the vision encoder gets them, and the image tokens that it gives for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqa.engine.stats import EngineStats
from vqa.inputs.hints import Name
from vqa.inputs.tiles import choose_grid, prepare_crops
from vqa.models.encoders import encoder_batch_size, patch_features
from vqa.models.name_classifier import NameClassifier
from vqa.utils.lru import LRUCache

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor


@dataclass(frozen=True)
class EncodedImage:
    """What the encoder gives for a picture."""

    tokens: Tensor  # [C * N, Dt], projected, of its C crops
    names: tuple[Name, ...] = ()  # by its classifier, for a model that was trained with them


class ImageTokenCache:
    """Encoded pictures by fingerprint, at most `max_bytes` of image tokens."""

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        processor: LlavaProcessor,
        stats: EngineStats,
        max_bytes: int,
        classifier: NameClassifier | None = None,
    ) -> None:
        self._model = model
        self._processor: Any = processor.image_processor
        self._stats = stats
        self._classifier = classifier
        self._cache: LRUCache[EncodedImage] = LRUCache(max_bytes)

    @torch.inference_mode()
    def encode(self, images: Mapping[str, Image.Image]) -> dict[str, EncodedImage]:
        """Return pictures encoded, by fingerprint; encode what is not cached."""
        results = {key: value for key in images if (value := self._cache.get(key)) is not None}
        missing = [key for key in images if key not in results]
        at_once = encoder_batch_size(next(self._model.model.vision_tower.parameters()).device)
        for start in range(0, len(missing), at_once):
            part = missing[start : start + at_once]
            encoded = self._encode([images[key] for key in part], at_once)
            for key, value in zip(part, encoded, strict=True):
                results[key] = value
                self._cache.put(key, value, value.tokens.nbytes)
        return results

    def _encode(self, images: list[Image.Image], at_once: int) -> list[EncodedImage]:
        began = perf_counter()
        pixels, counts = prepare_crops(self._processor, images)  # [crops, 3, H, W]
        weight = next(self._model.model.vision_tower.parameters())
        names: list[list[Name]] = []
        projected: list[Tensor] = []  # of each crop [N, Dt]
        for part in pixels.to(weight.device, weight.dtype).split(at_once):
            if self._classifier is None:
                projected += self._model.get_image_features(part, return_dict=True).pooler_output
                continue
            features = patch_features(self._model, part)  # [B, N, Dv]
            names += self._classifier(features.cpu())
            projected += self._model.model.multi_modal_projector(features)
        overviews = [0, *accumulate(counts[:-1])]
        # copies: a slice would keep the tokens of the whole batch alive
        encoded = [
            EncodedImage(
                torch.cat(projected[start : start + count]), tuple(names[start] if names else ())
            )
            for start, count in zip(overviews, counts, strict=True)
        ]
        if weight.device.type == "cuda":
            torch.cuda.synchronize(weight.device)  # else its time would count as the prefill's
        self._stats.encoded_pictures += len(images)
        self._stats.encoder_seconds += perf_counter() - began
        return encoded

    def clear(self) -> None:
        """Drop the tokens of all pictures."""
        self._cache.clear()


def encoder_view(image_processor: Any, picture: Image.Image) -> Image.Image:
    """Resize and crop a picture as the image processor does; its normalisation is undone.

    Tiles are put together: all that the overview shows is in them.
    """
    crops = prepare_crops(image_processor, [picture])[0].numpy()  # [C, 3, H, W]
    rows, columns = choose_grid(image_processor, picture.size)
    tiles = crops[-rows * columns :].reshape(rows, columns, *crops.shape[1:])
    channels, height, width = crops.shape[1:]
    pixels = tiles.transpose(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
    if getattr(image_processor, "do_normalize", False):
        mean = np.asarray(image_processor.image_mean)[:, None, None]
        deviation = np.asarray(image_processor.image_std)[:, None, None]
        pixels = pixels * deviation + mean
    if getattr(image_processor, "do_rescale", False):
        pixels = pixels / image_processor.rescale_factor
    values = np.rint(pixels).clip(0, 255).astype(np.uint8)
    return Image.fromarray(values.transpose(1, 2, 0))
