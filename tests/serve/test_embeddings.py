"""Vectors of texts and pictures, as OpenAI's client and plain clients ask for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import openai
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.serve.server import (
    Counting,
    data_url,
    picture_file,
    post,
    refused,
    serving,
    wait_until,
)
from vqa.alignment.dual_encoder import DualEncoder
from vqa.serve.http_app import ServerOptions

PATH = "/v1/embeddings"


@pytest.fixture(scope="module")
def server(space: DualEncoder) -> Iterator[str]:
    with serving({"c": Counting()}, space=space) as url:
        yield url


def part(image: Image.Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(picture_file(image))}}


def vectors(url: str, items: Any, **more: Any) -> np.ndarray[Any, Any]:
    reply = post(url, {"input": items, **more}, PATH).json()
    assert [one["index"] for one in reply["data"]] == list(range(len(reply["data"])))
    return np.array([one["embedding"] for one in reply["data"]], dtype=np.float32)


def test_openai_client(server: str, space: DualEncoder) -> None:
    texts = ["a cat", "a red square"]
    expected = space.encode_texts(texts).numpy()
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list().data] == ["c", "clip"]
        assert client.models.retrieve("clip").object == "model"
        by_default = client.embeddings.create(model="clip", input=texts)  # in base64
        as_floats = client.embeddings.create(model="clip", input=texts, encoding_format="float")
        one = client.embeddings.create(model="clip", input="a cat", dimensions=expected.shape[1])
        with pytest.raises(openai.NotFoundError, match="no model 'text-embedding-3-small' here"):
            client.embeddings.create(model="text-embedding-3-small", input="a cat")
        with pytest.raises(openai.NotFoundError, match="no model 'c' here"):
            client.embeddings.create(model="c", input="a cat")
        with pytest.raises(openai.BadRequestError, match="dimensions"):
            client.embeddings.create(model="clip", input="a cat", dimensions=2)
    for reply in (by_default, as_floats):
        got = np.array([item.embedding for item in reply.data])
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        assert reply.model == "clip" and reply.object == "list"
        assert reply.usage.prompt_tokens == reply.usage.total_tokens
        assert reply.usage.prompt_tokens == sum(map(space.count_tokens, texts)) > 4
    np.testing.assert_allclose(one.data[0].embedding, expected[0], rtol=1e-4, atol=1e-5)


def test_texts_and_pictures_keep_their_order(
    server: str, space: DualEncoder, pictures: list[Image.Image]
) -> None:
    items = ["a cat", part(pictures[0]), {"type": "text", "text": "a dog"}, part(pictures[1])]
    texts, images = space.encode_texts(["a cat", "a dog"]), space.encode_images(pictures[:2])
    expected = torch.stack([texts[0], images[0], texts[1], images[1]]).numpy()
    np.testing.assert_allclose(vectors(server, items), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(vectors(server, items[1:2]), expected[1:2], rtol=1e-4, atol=1e-5)
    as_text = {"type": "image_url", "image_url": data_url(picture_file(pictures[1]))}
    np.testing.assert_allclose(vectors(server, [as_text])[0], expected[3], rtol=1e-4, atol=1e-5)
    norms = np.linalg.norm(vectors(server, items, user="me", truncate=True), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-5)


@pytest.mark.parametrize(("items", "says"), [
    ([], "input"), ("", "empty"), (["a", " "], "empty"), ([[1, 2, 3]], "input"), ([5], "input"),
    (None, "input"), (["a"] * 257, "256"), (["x" * 8001], "8,000"), (["a b " * 200], "tokens"),
    ([{"type": "input_audio"}], "input"),
    ([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}], "fetches no URLs"),
    ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}], "picture"),
    ([{"type": "image_url", "image_url": {"url": "/etc/passwd"}}], "data:image"),
])  # fmt: skip
def test_what_cannot_be_encoded_is_refused(server: str, items: Any, says: str) -> None:
    message = refused(post(server, {"input": items}, PATH), 400)
    assert says in message and "/tmp" not in message
    assert vectors(server, "a cat").shape[0] == 1


@pytest.mark.parametrize("more", [{"encoding_format": "int8"}, {"dimensions": "x"}])
def test_other_forms_are_refused(server: str, more: dict[str, Any]) -> None:
    assert next(iter(more)) in refused(post(server, {"input": "a cat", **more}, PATH), 400)


def test_a_server_without_a_space_says_what_to_do() -> None:
    with serving({"c": Counting()}) as url:
        assert "--embeddings" in refused(post(url, {"input": "a cat"}, PATH), 404)


class Held:
    """A space that encodes nothing until it may."""

    def __init__(self, space: DualEncoder) -> None:
        self.name, self._space = "held", space
        self.may, self.running, self.calls = threading.Event(), threading.Event(), 0

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        return self._space.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.calls += 1
        self.running.set()
        assert self.may.wait(20)
        return self._space.encode_texts(texts)

    def count_tokens(self, text: str) -> int:
        return self._space.count_tokens(text)


def test_too_many_at_once_are_told_to_wait(space: DualEncoder) -> None:
    held = Held(space)
    options = ServerOptions(max_waiting=1)
    with serving({"c": Counting()}, options, held) as url, ThreadPoolExecutor(4) as pool:
        replies = [pool.submit(post, url, {"input": "a cat"}, PATH) for _ in range(4)]
        wait_until(lambda: sum(reply.done() for reply in replies) == 2)
        held.may.set()
        statuses = sorted(reply.result().status_code for reply in replies)
        assert statuses == [200, 200, 429, 429] and held.calls == 2
        full = next(one.result() for one in replies if one.result().status_code == 429)
        assert int(full.headers["Retry-After"]) > 0
        assert vectors(url, "a cat").shape[0] == 1  # the places are free again


def test_a_damaged_space_is_a_failure_in_a_line(space: DualEncoder) -> None:
    class Broken(Held):
        def encode_texts(self, texts: Sequence[str]) -> Tensor:
            return space._unit(torch.full((len(texts), 4), float("nan")))

    with serving({"c": Counting()}, space=Broken(replace(space))) as url:
        assert "damaged" in refused(post(url, {"input": "a cat"}, PATH), 500)
