"""Measure the mean and deviation of an encoder's features on pictures, for `TimmVisionModel`.

`python -m training.mix.calibrate ENCODER OUT FOLDER [FOLDER ...]` writes them as safetensors. It
takes the same number of pictures from every folder, so that no large set of small pictures
outweighs the rest.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel

from vqa.data.picture_files import list_pictures
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.models.encoders import TimmVisionModel
from vqa.models.llava import square_processor
from vqa.models.model_files import load_pretrained
from vqa.utils.progress import track


def calibrate(encoder: Path, out: Path, folders: Sequence[Path], each: int = 100) -> None:
    """Measure on `each` pictures from each folder and write feature_mean and feature_std [Dv]."""
    model = load_pretrained(AutoModel.from_pretrained, encoder)
    if not isinstance(model, TimmVisionModel):
        raise InputError(f"{encoder}: only timm encoders keep statistics of their features")
    chosen: list[Path] = []
    for folder in folders:
        paths = list_pictures(folder).pictures
        if not paths:
            raise InputError(f"{folder}: no pictures")
        chosen += random.Random(0).sample(paths, min(each, len(paths)))
    processor = square_processor(model)

    def batches() -> Iterator[Tensor]:
        starts = range(0, len(chosen), 16)
        for start in track(starts, "features", "batches", len(starts)):
            pictures = [load_image(path) for path in chosen[start : start + 16]]
            yield processor(pictures, return_tensors="pt")["pixel_values"]  # [B, 3, H, W]

    model.calibrate(batches())
    save_file({"feature_mean": model.feature_mean, "feature_std": model.feature_std}, out)


if __name__ == "__main__":
    encoder, out, *folders = map(Path, sys.argv[1:])
    calibrate(encoder, out, folders)
