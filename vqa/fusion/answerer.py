"""`FusionAnswerer`: answers requests with a fusion model in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqa.answering import Answer, Request, Seconds
from vqa.encoders import encoder_spec
from vqa.engine.counts import Counts
from vqa.engine.features import Features
from vqa.engine.prompt import PictureIdentity
from vqa.engine.sampling import Draw, choose
from vqa.engine.view import view
from vqa.errors import InputError
from vqa.explain.regions import Region, seen
from vqa.fusion.words import padded

if TYPE_CHECKING:
    from PIL import Image

    from vqa.fusion.storage import LoadedFusion


class FusionAnswerer:
    """An `Answerer` that classifies: each answer is one of those that training has seen often.

    It reads the last question of a conversation and the picture that was last shown. Earlier
    questions, answers and pictures and what a system message says are ignored, and so are
    `max_new_tokens` (an answer is a whole) and cancelling within an answer. The states of pictures
    are kept, up to `feature_bytes`: the next question about one runs no encoder. Any thread may
    call it; calls take turns.
    """

    def __init__(
        self, loaded: LoadedFusion, *, max_batch: int = 32, feature_bytes: int = 256 << 20
    ) -> None:
        self.name = loaded.name
        self._loaded = loaded
        self.counts = Counts()
        self._model = loaded.model
        self._words = loaded.words
        self._answers = loaded.answers
        self._max_batch = max_batch
        self._identities = PictureIdentity()
        self._image_processor = loaded.image_processor
        self._patch_size = encoder_spec(loaded.model.model.vision_tower.config).patch_size
        processor: Any = SimpleNamespace(image_processor=loaded.image_processor)
        model: Any = loaded.model
        self._features = Features(model, processor, self.counts, feature_bytes)
        self._turn = threading.Lock()

    @property
    def identity(self) -> str:
        """What answers depend on."""
        return self._loaded.fingerprint

    def answer(
        self, requests: Sequence[Request], cancel: threading.Event | None = None
    ) -> list[Answer]:
        """Answer all requests, in their order, `max_batch` at a time.

        The probability is that of the answer to be right, as measured on the training's validation
        pictures. Raises InputError for a conversation without a picture, with several in its last
        message that has any, or without a question.
        """
        asked = [self._asked(request) for request in requests]
        found: list[Answer] = []
        for start in range(0, len(asked), self._max_batch):
            part = asked[start : start + self._max_batch]
            if cancel is not None and cancel.is_set():
                found += [Answer("", "cancelled") for _ in part]
            else:
                found += self._answer(part, requests[start : start + self._max_batch])
        return found

    def answer_each(self, requests: Sequence[Request]) -> list[Answer | InputError]:
        """Answer all requests, in their order; what is refused gives its InputError."""
        found: list[Answer | InputError | None] = []
        good = []
        for request in requests:
            try:
                self._asked(request)
            except InputError as error:
                found.append(error)
            else:
                found.append(None)
                good.append(request)
        answers = iter(self.answer(good))
        return [next(answers) if one is None else one for one in found]

    def stream(
        self, request: Request, cancel: threading.Event | None = None
    ) -> Iterator[str | Answer]:
        """Yield the answer's text, in one piece, and last the `Answer`."""
        (answer,) = self.answer([request], cancel)
        if answer.text:
            yield answer.text
        yield answer

    def choose(
        self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Natural logarithm of the probability of each of `choices[i]` as the answer to request i.

        Minus infinity for what is none of the model's answers. Raises InputError where all of a
        request's choices are such, and as `answer` does.
        """
        asked = [self._asked(request) for request in requests]
        numbers = [[self._answers.find(text) for text in texts] for texts in choices]
        for texts, known in zip(choices, numbers, strict=True):
            if all(number is None for number in known):
                raise InputError(
                    f"None of the choices ({', '.join(texts)[:80]}) is one of the "
                    f"{len(self._answers)} answers that {self.name} knows."
                )
        scores: list[list[float]] = []
        for start in range(0, len(asked), self._max_batch):
            logits, _ = self._logits(asked[start : start + self._max_batch])
            for row in logits.log_softmax(-1):
                known = numbers[len(scores)]
                scores.append([-float("inf") if n is None else float(row[n]) for n in known])
        return scores

    @torch.inference_mode()
    def attention_map(self, request: Request) -> NDArray[np.float32]:
        """Where the question's tokens look, [H, W] over the patch grid; sums to one.

        The mean over all heads and tokens (the answer token included) of the last co-attention
        layer: its tokens have read picture and question already, and what they take from the
        patches goes straight to the classifier, while attention in earlier layers is mixed again.
        Heads differ and no single one is best for every question, so none is picked. Attention
        tells where the model looks and not why it answers (Jain and Wallace 2019,
        arXiv:1902.10186). Raises InputError as `answer` does.
        """
        with self._turn:
            ids, image, _ = self._inputs([self._asked(request)])
            weights = self._model.attention(ids, image)  # [1, heads, 1 + T, N]
        grid = self._model.config.grid
        found: NDArray[np.float32] = weights.mean((0, 1, 2)).reshape(grid).float().cpu().numpy()
        return found  # [H, W]

    def region(self, size: tuple[int, int]) -> Region:
        """Which part of a picture of `size` (width, height) the encoder sees."""
        return seen(self._image_processor, size, self._patch_size)

    def view(self, picture: Image.Image) -> Image.Image:
        """The picture after the resizing and cropping that the encoder's picture goes through."""
        return view(self._image_processor, picture)

    def forget(self) -> None:
        """Drop all kept states of pictures."""
        with self._turn:
            self._features.clear()

    def _asked(self, request: Request) -> tuple[list[int], Image.Image]:
        """The token ids of the question, and the picture that it is about."""
        messages = request.messages
        if not messages or messages[-1].role != "user":
            raise InputError("The conversation does not end with a question: add one.")
        shown = next((message.images for message in reversed(messages) if message.images), ())
        if not shown:
            raise InputError(f"{self.name} answers about a picture only: add one to the question.")
        if len(shown) > 1:
            raise InputError(
                f"{self.name} answers about one picture at a time, not {len(shown)}: ask about "
                "each, or use a generative model."
            )
        most = self._model.config.question_tokens
        return self._words.ids(messages[-1].text, most), shown[0]

    @torch.inference_mode()
    def _inputs(
        self, asked: Sequence[tuple[list[int], Image.Image]]
    ) -> tuple[Tensor, Tensor, float]:
        """Ids [B, T], image states [B, N, D], and the seconds that the encoder took."""
        before = self.counts.encoder_seconds
        keys = [self._identities.of(picture) for _, picture in asked]
        pictures = {key: picture for key, (_, picture) in zip(keys, asked, strict=True)}
        states = self._features.of(pictures)
        image = torch.stack([states[key] for key in keys])  # [B, N, D]
        ids = padded([question for question, _ in asked]).to(image.device)  # [B, T]
        return ids, image, self.counts.encoder_seconds - before

    @torch.inference_mode()
    def _logits(self, asked: Sequence[tuple[list[int], Image.Image]]) -> tuple[Tensor, float]:
        """Calibrated logits [B, A] in float32 on the CPU, and the encoder's seconds."""
        with self._turn:
            ids, image, seconds = self._inputs(asked)
            logits = self._model.logits(ids, image).float().cpu()
        return logits / self._model.config.answer_temperature, seconds

    def _answer(
        self, asked: Sequence[tuple[list[int], Image.Image]], requests: Sequence[Request]
    ) -> list[Answer]:
        began = perf_counter()
        logits, encode = self._logits(asked)
        draws = [
            Draw.seeded(s.temperature, s.top_p, s.seed) if s.temperature else None
            for s in (request.settings for request in requests)
        ]
        numbers, scores = choose(logits, draws)
        total = perf_counter() - began
        rows, columns = self._model.config.grid
        return [
            Answer(
                text=self._answers.texts[number],
                finish="stop",
                probability=float(np.exp(score)),
                image_tokens=rows * columns,
                prompt_tokens=rows * columns + len(question),
                new_tokens=1,
                seconds=Seconds(encode=encode, first_token=total, total=total),
            )
            for number, score, (question, _) in zip(numbers, scores, asked, strict=True)
        ]
