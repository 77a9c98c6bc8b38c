"""Measure the mean and deviation of an encoder's features on pictures, for `TimmVisionModel`.

`python -m training.calibrate ENCODER OUT FOLDER [FOLDER ...]` writes them as safetensors. It takes
the same number of pictures from every folder, so that no large set of small pictures outweighs the
rest.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel

from vqa.encoders import TimmVisionModel
from vqa.errors import InputError
from vqa.images import load_image
from vqa.model import square_processor

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def calibrate(encoder: Path, out: Path, folders: Sequence[Path], each: int = 100) -> None:
    """Measure on `each` pictures from each folder and write feature_mean and feature_std [Dv]."""
    model = AutoModel.from_pretrained(encoder)
    if not isinstance(model, TimmVisionModel):
        raise InputError(f"{encoder}: only timm encoders keep statistics of their features")
    chosen: list[Path] = []
    for folder in folders:
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
        if not found:
            raise InputError(f"{folder}: no pictures")
        chosen += random.Random(0).sample(found, min(each, len(found)))
    processor = square_processor(model)

    def batches() -> Iterator[Tensor]:
        for start in track(range(0, len(chosen), 16), "features"):
            pictures = [load_image(path) for path in chosen[start : start + 16]]
            yield processor(pictures, return_tensors="pt")["pixel_values"]  # [B, 3, H, W]

    model.calibrate(batches())
    save_file({"feature_mean": model.feature_mean, "feature_std": model.feature_std}, out)


if __name__ == "__main__":
    encoder, out, *folders = map(Path, sys.argv[1:])
    calibrate(encoder, out, folders)
