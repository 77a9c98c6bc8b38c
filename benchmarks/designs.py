"""Starting points that `design_trials.py` compares: encoders, projector starts, pseudo-labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor
from transformers import AutoModel

from benchmarks import joined_encoder
from training.start import set_linear
from vqa.conversion import make_config_portable, save_model
from vqa.encoders import TimmVisionModel
from vqa.images import load_image
from vqa.model import compose, square_processor
from vqa.parts import part_directory

_AT_ONCE = 16  # pictures


def base(
    directory: Path,
    pictures: Sequence[Path],
    part: Literal["lite2", "lite0", "both"] = "lite2",
    size: int = 256,
    stages: tuple[int, ...] = (2, 3),
    head_start: bool = False,
) -> None:
    """Save an untrained LLaVA model on another form of the encoder in `directory`.

    `pictures` are what the scale of each channel is measured on, as for the encoder that ships.
    """
    encoder = _encoder(part, size, stages)
    encoder.calibrate(pixels(encoder, pictures))
    encoder.save_pretrained(directory / "encoder")
    language = part_directory("language")
    composed = compose(directory / "encoder", language, dtype=torch.bfloat16)
    if head_start:
        _start_from_head(composed.model, load_file(_head(part)))
    save_model(composed.model, directory)
    composed.processor.save_pretrained(directory)
    make_config_portable(directory)


def _encoder(part: str, size: int, stages: Iterable[int]) -> TimmVisionModel:
    if part == "both":
        joined: Any = TimmVisionModel.from_timm(joined_encoder.NAME, size, stages)
        for name in ("lite2", "lite0"):
            getattr(joined.backbone, name).load_state_dict(_part(name).backbone.state_dict())
        return joined
    known = _part(part)
    encoder = TimmVisionModel.from_timm(known.config.backbone, size, stages)
    encoder.backbone.load_state_dict(known.backbone.state_dict())
    return encoder


def _part(name: str) -> Any:
    return AutoModel.from_pretrained(part_directory("vision", name))


def _head(part: str) -> Path:
    return part_directory("vision", part) / "classifier.safetensors"


def pixels(encoder: TimmVisionModel, pictures: Sequence[Path]) -> Iterator[Tensor]:
    """The pictures as the encoder takes them, in batches [B, 3, H, W]."""
    processor = square_processor(encoder)
    for start in range(0, len(pictures), _AT_ONCE):
        images = [load_image(path) for path in pictures[start : start + _AT_ONCE]]
        yield processor(images, return_tensors="pt")["pixel_values"]


def class_names() -> list[str]:
    """The everyday name of each of the classifier's 1,000 classes: the first that is listed."""
    info = ImageNetInfo()
    return [info.index_to_description(n).split(",")[0].lower() for n in range(1000)]


@torch.no_grad()
def _start_from_head(model: Any, head: dict[str, Tensor]) -> None:
    """Let the projector say the name of a class where features point as the classifier's row does.

    Ridge regression from the 1,000 rows, as normalised features, to the names' mean embeddings.
    """
    from transformers import AutoTokenizer

    tower = model.model.vision_tower
    table = model.get_input_embeddings().weight.float()  # [vocabulary, Dt]
    centre = table.mean(0)
    tokenizer = AutoTokenizer.from_pretrained(part_directory("language"))
    names = [tokenizer(" " + name, add_special_tokens=False).input_ids for name in class_names()]
    targets = torch.stack([(table[ids] - centre).mean(0) for ids in names])  # [1000, Dt]
    rows = torch.zeros(1000, tower.config.hidden_size)  # [1000, Dv]
    weight = head["weight"].float()  # [1000, D]: the last map comes first among the joined ones
    weight = weight * tower.feature_std[: weight.shape[1]].float()
    rows[:, : weight.shape[1]] = weight / weight.std()
    x, y = rows - rows.mean(0), targets - targets.mean(0)
    linear = torch.linalg.solve(x.T @ x + 0.1 * len(x) * torch.eye(x.shape[1]), x.T @ y)
    linear = linear * (table - centre).std() / (x @ linear).std()
    set_linear(model.model.multi_modal_projector, linear, torch.zeros(x.shape[1]), centre, x)


@torch.no_grad()
def pseudo_labels(
    rows: Iterable[dict[str, Any]], mix: Path, sets: frozenset[str], surest: float = 0.3
) -> Iterator[dict[str, Any]]:
    """A row for each picture of `sets` that the encoder's own classifier is sure of."""
    encoder: Any = AutoModel.from_pretrained(part_directory("vision"))
    head, names = load_file(_head("lite2")), class_names()
    own = sorted({row["image"] for row in rows if row.get("source") in sets})
    batches = pixels(encoder, [mix / name for name in own])
    found = torch.cat(
        [
            torch.softmax(
                encoder.backbone(batch.contiguous(memory_format=torch.channels_last))
                @ head["weight"].T
                + head["bias"],
                dim=1,
            )
            for batch in batches
        ]
    )  # [P, 1000]
    for name, (share, index) in zip(own, zip(*found.max(1), strict=True), strict=True):
        if share >= surest:
            yield {
                "id": f"pseudo/{name}",
                "image": name,
                "question": "What is the main object in the image?",
                "answers": [names[int(index)]],
                "task": "names",
                "source": name.split("/")[0],
            }
