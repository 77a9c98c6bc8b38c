"""Conversations as the engine handles them: ids, pictures, and what makes prefixes equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import ref

import numpy as np

from vqa.answering import Request
from vqa.inputs.prompts import count_image_tokens, encode
from vqa.utils import fingerprint

if TYPE_CHECKING:
    from PIL import Image
    from transformers import LlavaProcessor


@dataclass(frozen=True)
class Prompt:
    """The token ids of a conversation, or of its beginning, and the pictures in it.

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


class ImageFingerprints:
    """Fingerprints of picture objects, computed once for each: hashing a photo takes some 30 ms.

    Pictures in messages must not be changed in place, as messages themselves cannot.
    """

    def __init__(self) -> None:
        self._cache: dict[int, tuple[ref[Image.Image], str]] = {}  # by the object's id

    def of(self, image: Image.Image) -> str:
        """Return the fingerprint of a picture's content."""
        number = id(image)
        entry = self._cache.get(number)
        if entry is not None and entry[0]() is image:
            return entry[1]
        value = fingerprint.of_image(image)
        cache = self._cache  # the object's end removes it: another one may get its id
        cache[number] = (ref(image, lambda _: cache.pop(number, None)), value)
        return value


def encode_request(
    processor: LlavaProcessor, request: Request, fingerprints: ImageFingerprints
) -> Prompt:
    """Encode a request. Raises InputError where the template does not take its conversation."""
    encoded = encode(processor, request.messages, add_generation_prompt=True)
    images = request.images
    pictures = tuple(fingerprints.of(image) for image in images)
    ids = np.array(encoded.input_ids, dtype=np.int64)
    is_image = ids == processor.image_token_id
    identity = ids.copy()
    if pictures:
        # 56 bits of each picture's hash; consecutive numbers for the places within it
        counts = count_image_tokens(processor, images)
        places = [
            int(value[:14], 16) + np.arange(count, dtype=np.int64)
            for value, count in zip(pictures, counts, strict=True)
        ]
        identity[is_image] = -1 - np.concatenate(places)
    return Prompt(ids, identity, is_image, pictures, dict(zip(pictures, images, strict=True)))
