"""A conversation as the engine handles it: ids, pictures, and what makes prefixes equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import ref

import numpy as np

from vqa import fingerprint
from vqa.answering import Request
from vqa.prompts import encode

if TYPE_CHECKING:
    from PIL import Image
    from transformers import LlavaProcessor


@dataclass(frozen=True)
class Prompt:
    """An encoded conversation, or the beginning of one.

    `identity` is the token ids, with a negative number for each image token that stands for the
    content of its picture and the place in it: equal identities have equal keys and values.
    """

    ids: np.ndarray  # [L] int64
    identity: np.ndarray  # [L] int64
    is_image: np.ndarray  # [L] bool
    pictures: tuple[str, ...]  # fingerprints
    images: Mapping[str, Image.Image]  # by fingerprint

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, length: int) -> Prompt:
        """Cut off all but the first `length` tokens."""
        return Prompt(
            self.ids[:length],
            self.identity[:length],
            self.is_image[:length],
            self.pictures,
            self.images,
        )


class PictureIdentity:
    """Fingerprints of picture objects, computed once for each: hashing a photo takes some 30 ms.

    Pictures in messages must not be changed in place, as messages themselves cannot.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[Image.Image], str]] = {}

    def of(self, image: Image.Image) -> str:
        """Fingerprint of a picture's content."""
        number = id(image)
        found = self._known.get(number)
        if found is not None and found[0]() is image:
            return found[1]
        value = fingerprint.of_image(image)
        known = self._known  # the object's end removes it: another one may get its id
        self._known[number] = (ref(image, lambda _: known.pop(number, None)), value)
        return value


def prepare(
    processor: LlavaProcessor, requests: Sequence[Request], identities: PictureIdentity
) -> list[Prompt]:
    """Encode requests. Raises InputError where a conversation cannot be put into the template."""
    return [_prepare(processor, request, identities) for request in requests]


def _prepare(processor: LlavaProcessor, request: Request, identities: PictureIdentity) -> Prompt:
    encoded = encode(processor, request.messages, add_generation_prompt=True)
    images = [image for message in request.messages for image in message.images]
    pictures = tuple(identities.of(image) for image in images)
    ids = np.array(encoded.input_ids, dtype=np.int64)
    is_image = ids == processor.image_token_id
    identity = ids.copy()
    if pictures:
        # 56 bits of each picture's hash; consecutive numbers for the places within it
        bases = np.array([int(value[:14], 16) for value in pictures], dtype=np.int64)
        each = int(is_image.sum()) // len(pictures)
        identity[is_image] = -1 - (bases[:, None] + np.arange(each)[None, :]).reshape(-1)
    return Prompt(ids, identity, is_image, pictures, dict(zip(pictures, images, strict=True)))
