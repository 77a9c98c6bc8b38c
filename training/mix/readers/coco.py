"""COCO json (Lin et al. 2014): `instances` (boxes) and `captions`, one or both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.mix.picture import MarkedObject, Picture
from training.mix.readers.files import lines, under
from vqa.errors import InputError


def read(
    images: Path, instances: Path | None = None, captions: Path | None = None, source: str = "coco"
) -> Iterator[Picture]:
    """Yield a picture with its boxes and captions.

    Every category of the file counts as marked wherever it occurs. Raises InputError if a file is
    not COCO json.
    """
    names: dict[int, str] = {}
    boxes: dict[int, list[MarkedObject]] = {}
    texts: dict[int, list[str]] = {}
    categories: frozenset[str] = frozenset()
    if instances is not None:
        with _Named(instances) as data:
            sizes = {i["id"]: float(i["width"] * i["height"]) for i in data["images"]}
            names |= {i["id"]: i["file_name"] for i in data["images"]}
            category = {c["id"]: str(c["name"]) for c in data["categories"]}
            categories = frozenset(category.values())
            for a in data["annotations"]:
                width, height = a["bbox"][2:]
                area = width * height / sizes[a["image_id"]]
                box = MarkedObject(category[a["category_id"]], area, bool(a.get("iscrowd")))
                boxes.setdefault(a["image_id"], []).append(box)
    if captions is not None:
        with _Named(captions) as data:
            names |= {i["id"]: i["file_name"] for i in data["images"]}
            for a in data["annotations"]:
                texts.setdefault(a["image_id"], []).append(str(a["caption"]).strip())
    for key, name in names.items():
        yield Picture(
            under(images, name, str(instances or captions)),
            source,
            captions=tuple(texts.get(key, ())),
            boxes=tuple(boxes.get(key, ())),
            annotated=categories,
        )


class _Named:
    """Opens a json file and names it in whatever goes wrong with its content."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Any:
        try:
            return json.loads("\n".join(lines(self.path)))
        except json.JSONDecodeError as error:
            raise InputError(f"{self.path}:{error.lineno}: not JSON ({error.msg})") from None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError | TypeError | ValueError | ZeroDivisionError):
            raise InputError(f"{self.path}: not COCO json ({error!r})") from None
