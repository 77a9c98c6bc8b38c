"""COCO captions (Chen et al. 2015): a row a picture, all its captions as answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vqa.data.example import Example
from vqa.data.formats.flat_json import list_rows, repeated_ids
from vqa.data.formats.json_stream import elements
from vqa.data.formats.probe import FileProbe
from vqa.data.published_columns import CAPTION_QUESTION
from vqa.data.row_reader import NumberedRow, ReadOptions, read_examples
from vqa.errors import InputError

NAME = "COCO captions"


def sniff(probe: FileProbe) -> bool:
    """Recognise a list of pictures, and one of annotations with captions."""
    first = probe.first_of("annotations")
    return probe.kind == "json object" and isinstance(first, dict) and "caption" in first


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read a row for each picture under its number in the file; it is bad without a caption."""
    return read_examples(_rows(probe.path, options), options)


def _rows(path: Path, options: ReadOptions) -> Iterator[NumberedRow]:
    unclear = repeated_ids(path, "images", "id")
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
        if key in unclear and options.need_answers:
            yield number, ValueError(f"id {key!r} comes {unclear[key]} times among the images, so "
                                     "its captions cannot be told apart")  # fmt: skip
            continue
        answers = [caption for caption in captions.get(key, ()) if caption and key not in unclear]
        row = {"id": key, "question": CAPTION_QUESTION, "answers": answers or None}
        yield number, row | {"image": image.get("file_name")}
