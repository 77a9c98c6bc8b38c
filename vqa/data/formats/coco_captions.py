"""COCO captions (Chen et al. 2015): a row a picture, all its captions as answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vqa.data.example import Example
from vqa.data.formats.json_rows import list_rows
from vqa.data.formats.json_stream import elements
from vqa.data.formats.look import Seen
from vqa.data.rows import Raw, Wanted, examples
from vqa.errors import InputError

NAME = "COCO captions"
QUESTION = "Describe the image."


def sniff(seen: Seen) -> bool:
    """A list of pictures, and one of annotations with captions."""
    first = (seen.members.get("annotations") or [None])[0]
    return seen.kind == "json object" and isinstance(first, dict) and "caption" in first


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """A row for each picture under its number in the file; one without a caption is a bad row."""
    return examples(_rows(seen.path), wanted)


def _rows(path: Path) -> Iterator[Raw]:
    captions: dict[int | str, list[str]] = {}
    try:
        for number, row in enumerate(elements(path, "annotations"), start=1):
            try:
                captions.setdefault(row["image_id"], []).append(row["caption"].strip())
            except (TypeError, KeyError, AttributeError):
                raise InputError(
                    f"{path}: annotation {number} has no image_id or caption"
                ) from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    for number, image in list_rows(path, "images"):
        if isinstance(image, ValueError):
            yield number, image
            continue
        key = image.get("id")
        if not isinstance(key, int | str):
            yield number, ValueError("id is neither a text nor a whole number")
            continue
        found = [caption for caption in captions.get(key, ()) if caption]
        row = {"id": key, "question": QUESTION, "answers": found or None}
        yield number, row | {"image": image.get("file_name")}
