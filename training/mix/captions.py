"""Captions for the shared space that ships, made from the public sets of the training mix.

`python -m training.mix.captions DATA_ROOT OUT` writes `train.jsonl`, and `dev.jsonl` with the dev
pictures of Flickr8k. Labels and scenes become captions ("a photo of a goldfish"). The sets that
zero-shot classification is measured on, clothing and Caltech-101, are not looked at.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.mix.picture import Picture
from training.mix.sets import SETS
from training.mix.tables import rows
from vqa.utils.files import write_jsonl

SOURCES = ("flickr8k", "coco", "voc", "ade20k", "grocery", "tinyimagenet")
_WORDINGS = ("a photo of a {}.", "a picture of a {}.", "there is a {} in the picture.", "{}")


def build(root: Path, out: Path) -> None:
    """Write both files into the directory `out`; pictures are named from there."""
    rows_of: dict[str, list[dict[str, Any]]] = {"train": [], "dev": []}
    scenes = {row[0]: row[1] for row in rows("scenes")}
    for source in SOURCES:
        for picture in SETS[source].read(root / source):
            texts = list(dict.fromkeys(captions(picture, scenes)))
            if texts:
                side = "dev" if picture.official_split == "dev" else "train"
                path = os.path.relpath(picture.path, root)
                row = {"id": len(rows_of[side]), "image": path, "question": "Describe the image."}
                rows_of[side].append(row | {"answers": texts, "source": source})
    out.mkdir(parents=True, exist_ok=True)
    for side, lines in rows_of.items():
        write_jsonl(out / f"{side}.jsonl", lines)
        print(f"{out / side}.jsonl: {len(lines)} pictures; images={root}")


def captions(picture: Picture, scenes: dict[str, str]) -> Iterator[str]:
    """Yield a picture's captions, and sentences from its label, scene and boxes."""
    yield from (text.strip() for text in picture.captions)
    draw = random.Random(picture.path.name)
    names: list[str] = []
    if picture.label is not None:
        names += [picture.label.name, *picture.label.synonyms[:1]]
    if picture.scene and picture.scene != "misc":
        names.append(scenes.get(picture.scene, picture.scene).replace("_", " "))
    for name in names:
        yield draw.choice(_WORDINGS).format(name)
    kinds = sorted({box.name for box in picture.boxes})
    if kinds and not picture.captions:
        yield f"a photo of {' and '.join(kinds)}."


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
