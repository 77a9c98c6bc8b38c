"""`FusionAnswerer`: answers requests with a fusion model in this process."""

from __future__ import annotations

import math
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
from vqa.engine.completion import in_one_piece
from vqa.engine.image_tokens import ImageTokenCache, encoder_view
from vqa.engine.prompt import ImageFingerprints
from vqa.engine.sampling import Sampler, sample_tokens
from vqa.engine.stats import EngineStats
from vqa.errors import InputError, NotFiniteError, VQAError
from vqa.explain.regions import Region, visible_region
from vqa.fusion.token_embeddings import pad_questions
from vqa.inputs.placeholders import words_only
from vqa.models.encoders import encoder_spec
from vqa.models.finite import is_finite

if TYPE_CHECKING:
    from PIL import Image

    from vqa.fusion.storage import LoadedFusion

_IMAGE_BYTES = 256 << 20  # of the cached states of pictures


class FusionAnswerer:
    """An `Answerer` that classifies: each answer is one of the model's `AnswerVocabulary`.

    It reads the last question of a conversation and its last picture. Earlier questions, answers
    and pictures and the system message are ignored, and so are `max_new_tokens` (an answer is a
    whole) and cancelling within an answer. The states of pictures are cached: the
    next question about one runs no encoder. Any thread may call it; calls take turns.
    """

    def __init__(self, loaded: LoadedFusion, *, max_batch: int = 32) -> None:
        self.name = loaded.name
        self.dtype = "float32"
        self._loaded = loaded
        self.stats = EngineStats()
        self._model = loaded.model
        self._embeddings = loaded.embeddings
        self._answers = loaded.answers
        self._max_batch = max_batch
        self._fingerprints = ImageFingerprints()
        self._image_processor = loaded.image_processor
        self._patch_size = encoder_spec(loaded.model.model.vision_tower.config).patch_size
        processor: Any = SimpleNamespace(image_processor=loaded.image_processor)
        model: Any = loaded.model
        self._image_tokens = ImageTokenCache(model, processor, self.stats, _IMAGE_BYTES)
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """Fingerprint of what answers depend on."""
        return self._loaded.fingerprint

    def answer(
        self, requests: Sequence[Request], cancel: threading.Event | None = None
    ) -> list[Answer]:
        """Answer all requests, in their order, `max_batch` at a time.

        The probability is that the answer is right, calibrated on training's validation pictures.
        Raises InputError for a conversation without a picture, with several in its last
        message that has any, or without a question; NotFiniteError where the model is damaged.
        """
        answers: list[Answer] = []
        for outcome in self._outcomes(requests, cancel):
            if isinstance(outcome, NotFiniteError):
                raise outcome
            answers.append(outcome)
        return answers

    def _outcomes(
        self, requests: Sequence[Request], cancel: threading.Event | None = None
    ) -> list[Answer | NotFiniteError]:
        questions = [self._read(request) for request in requests]
        outcomes: list[Answer | NotFiniteError] = []
        for start in range(0, len(questions), self._max_batch):
            part = questions[start : start + self._max_batch]
            if cancel is not None and cancel.is_set():
                outcomes += [Answer("", "cancelled") for _ in part]
            else:
                outcomes += self._answer(part, requests[start : start + self._max_batch])
        return outcomes

    def answer_each(self, requests: Sequence[Request]) -> list[Answer | VQAError]:
        """Answer all requests, in their order; return the error of one that is refused or fails."""
        errors: list[InputError | None] = []
        valid = []
        for request in requests:
            try:
                self._read(request)
            except InputError as error:
                errors.append(error)
            else:
                errors.append(None)
                valid.append(request)
        outcomes = iter(self._outcomes(valid))
        return [error or next(outcomes) for error in errors]

    def stream(
        self, request: Request, cancel: threading.Event | None = None
    ) -> Iterator[str | Answer]:
        """Yield the answer's text, in one piece, and last the `Answer`."""
        (answer,) = self.answer([request], cancel)
        yield from in_one_piece(answer)

    def score_choices(
        self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Compute the log probability of each of `choices[i]` as the answer to request i.

        Minus infinity for what is none of the model's answers. Raises InputError where all of a
        request's choices are such; InputError and NotFiniteError as `answer` does.
        """
        questions = [self._read(request) for request in requests]
        classes = [[self._answers.index(text) for text in texts] for texts in choices]
        for texts, indices in zip(choices, classes, strict=True):
            if all(index is None for index in indices):
                raise InputError(
                    f"None of the choices ({', '.join(texts)[:80]}) is one of the "
                    f"{len(self._answers)} answers that {self.name} knows."
                )
        scores: list[list[float]] = []
        for start in range(0, len(questions), self._max_batch):
            logits, _ = self._logits(questions[start : start + self._max_batch])
            for row in logits.log_softmax(-1):
                indices = classes[len(scores)]
                if not is_finite(row):
                    raise self._not_finite()
                scores.append([-float("inf") if n is None else float(row[n]) for n in indices])
        return scores

    @torch.inference_mode()
    def attention_map(self, request: Request) -> NDArray[np.float32]:
        """Average the tokens' attention over the patch grid, [H, W]; sums to one.

        The mean over all heads and tokens (the answer token included) of the last co-attention
        layer: its tokens have read picture and question already, and what they take from the
        patches goes straight to the classifier, while attention in earlier layers is mixed again.
        Heads differ and no single one is best for every question, so none is picked. Attention
        shows what the model reads and not why it answers (Jain and Wallace 2019,
        arXiv:1902.10186). Raises InputError as `answer` does.
        """
        with self._lock:
            ids, image, _ = self._inputs([self._read(request)])
            weights = self._model.attention(ids, image)  # [1, heads, 1 + T, N]
        grid = self._model.config.grid
        if not is_finite(weights):
            raise self._not_finite()
        values: NDArray[np.float32] = weights.mean((0, 1, 2)).reshape(grid).float().cpu().numpy()
        return values  # [H, W]

    def _not_finite(self) -> NotFiniteError:
        return NotFiniteError(f"{self.name} is damaged: train it again", wider=False)

    def region(self, size: tuple[int, int]) -> Region:
        """Return the part of a picture of `size` (width, height) that the encoder sees."""
        return visible_region(self._image_processor, size, self._patch_size)

    def encoder_view(self, picture: Image.Image) -> Image.Image:
        """Resize and crop a picture as the encoder's input is."""
        return encoder_view(self._image_processor, picture)

    def clear_caches(self) -> None:
        """Drop the cached states of all pictures."""
        with self._lock:
            self._image_tokens.clear()

    def _read(self, request: Request) -> tuple[list[int], Image.Image]:
        """Return the token ids of the question, and the picture that it is about."""
        messages = request.messages
        if not messages or messages[-1].role != "user":
            raise InputError("The conversation does not end with a question: add one.")
        images = next((message.images for message in reversed(messages) if message.images), ())
        if not images:
            raise InputError(f"{self.name} answers about a picture only: add one to the question.")
        if len(images) > 1:
            raise InputError(
                f"{self.name} answers about one picture at a time, not {len(images)}: ask about "
                "each, or use a generative model."
            )
        question = words_only(messages[-1].text, messages[-1].places)
        return self._embeddings.encode(question, self._model.config.question_tokens), images[0]

    @torch.inference_mode()
    def _inputs(
        self, questions: Sequence[tuple[list[int], Image.Image]]
    ) -> tuple[Tensor, Tensor, float]:
        """Return ids [B, T], image states [B, N, D], and the encoder's seconds."""
        before = self.stats.encoder_seconds
        keys = [self._fingerprints.of(picture) for _, picture in questions]
        pictures = {key: picture for key, (_, picture) in zip(keys, questions, strict=True)}
        states = self._image_tokens.encode(pictures)
        image = torch.stack([states[key].tokens for key in keys])  # [B, N, D]
        ids = pad_questions([question for question, _ in questions]).to(image.device)  # [B, T]
        return ids, image, self.stats.encoder_seconds - before

    @torch.inference_mode()
    def _logits(self, questions: Sequence[tuple[list[int], Image.Image]]) -> tuple[Tensor, float]:
        """Return calibrated logits [B, A] in float32 on the CPU, and the encoder's seconds."""
        with self._lock:
            ids, image, seconds = self._inputs(questions)
            logits = self._model.logits(ids, image).float().cpu()
        return logits / self._model.config.answer_temperature, seconds

    def _answer(
        self, questions: Sequence[tuple[list[int], Image.Image]], requests: Sequence[Request]
    ) -> list[Answer | NotFiniteError]:
        began = perf_counter()
        logits, encode = self._logits(questions)
        samplers = [Sampler.of(request.settings) for request in requests]
        classes, log_probs = sample_tokens(logits, samplers)
        total = perf_counter() - began
        rows, columns = self._model.config.grid
        return [
            self._not_finite()
            if not math.isfinite(log_prob)
            else Answer(
                text=self._answers.texts[index],
                finish_reason="stop",
                probability=float(np.exp(log_prob)),
                image_tokens=rows * columns,
                prompt_tokens=rows * columns + len(question),
                new_tokens=1,
                seconds=Seconds(encode=encode, first_token=total, total=total),
            )
            for index, log_prob, (question, _) in zip(classes, log_probs, questions, strict=True)
        ]
