"""Bodies of `/v1/embeddings`, and the vectors of the texts and pictures in them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Discriminator, Field

from vqa.errors import InputError
from vqa.serve.bounded_thread import BoundedThread
from vqa.serve.chat_request import Body, ImagePart, TextPart, urls_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MAX_INPUTS = 256  # texts and pictures of a request


class SharedSpace(Protocol):
    """What encodes pictures and texts as unit vectors [B, d], float32 on the CPU."""

    @property
    def name(self) -> str:
        """What it was loaded from."""

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """Encode pictures."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts."""

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text, special ones included."""


class EmbeddingRequest(Body):
    """Texts, and pictures as parts of OpenAI's messages; fields that are not listed are ignored."""

    model: str | None = Field(None, description="One of /v1/models; without it, the only one.")
    input: (
        str
        | Annotated[
            list[str | Annotated[TextPart | ImagePart, Discriminator("type")]],
            Field(min_length=1, max_length=MAX_INPUTS),
        ]
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64 of float32, the lowest byte first."
    )
    dimensions: int | None = Field(None, description="That of the space; there is no other.")

    @property
    def parts(self) -> Sequence[TextPart | ImagePart]:
        """Return what is to be encoded."""
        items = [self.input] if isinstance(self.input, str) else self.input
        return [
            TextPart(type="text", text=item) if isinstance(item, str) else item for item in items
        ]

    @property
    def picture_urls(self) -> list[str]:
        """Return where the pictures are, in order; InputError for too many."""
        return urls_of(self.parts)


class Embedder:
    """Encodes for all clients in one thread; at most `max_waiting` requests wait for it."""

    def __init__(self, space: SharedSpace, max_waiting: int) -> None:
        self.name = space.name
        self._space = space
        self._thread = BoundedThread("vqa-embedder", max_waiting)

    async def reply(self, body: EmbeddingRequest, images: Sequence[Image]) -> dict[str, Any]:
        """Make the reply; `images` are those of `picture_urls`. Raises QueueFull, or VQAError."""
        return await self._thread.run(self._reply, body, images)

    def _reply(self, body: EmbeddingRequest, images: Sequence[Image]) -> dict[str, Any]:
        texts = [part.text for part in body.parts if isinstance(part, TextPart)]
        of_texts = iter(self._space.encode_texts(texts) if texts else ())
        of_images = iter(self._space.encode_images(images) if images else ())
        vectors = [
            next(of_texts if isinstance(part, TextPart) else of_images) for part in body.parts
        ]
        dim = len(vectors[0])
        if body.dimensions not in (None, dim):
            raise InputError(f"dimensions: the vectors of {self.name} have {dim}, and no fewer")
        tokens = sum(map(self._space.count_tokens, texts))
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _encoded(body, vector)}
                for index, vector in enumerate(vectors)
            ],
            "model": self.name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def close(self) -> None:
        """Drop what waits, and end the thread."""
        self._thread.close()


def _encoded(body: EmbeddingRequest, vector: Tensor) -> str | list[float]:
    if body.encoding_format == "base64":
        return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
