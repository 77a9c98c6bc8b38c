"""`LocalEngine`: answers requests with a model in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from vqa.answering import Answer, Request, Seconds
from vqa.engine.choices import Scoring, by_prompt, choice
from vqa.engine.counts import Counts
from vqa.engine.decoding import Decoding, Row
from vqa.engine.features import Features
from vqa.engine.memory import Prefixes
from vqa.engine.prefill import Prefill
from vqa.engine.prompt import PictureIdentity, Prompt, prepare
from vqa.engine.text_model import TextModel
from vqa.engine.text_stream import TextStream, readable
from vqa.engine.view import view
from vqa.errors import InputError, VQAError
from vqa.prompts import end_of_turn_ids
from vqa.room import memory_is_full

if TYPE_CHECKING:
    from vqa.checkpoints import Loaded


@dataclass
class _Clock:
    began: float
    encode: float = 0.0
    first_token: float = 0.0

    def seconds(self) -> Seconds:
        total = perf_counter() - self.began
        return Seconds(encode=self.encode, first_token=self.first_token or total, total=total)


class LocalEngine:
    """An `Answerer` over a loaded model. Any thread may call it; calls take turns at each token.

    The features of pictures (up to `feature_bytes`) and the keys and values of what was asked and
    answered (up to `prefix_bytes`) are kept: the next question about the same pictures and the next
    turn of a conversation run no encoder and only their new tokens. `counts` tells what was run.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        max_batch: int = 16,
        feature_bytes: int = 256 << 20,
        prefix_bytes: int = 1 << 30,
    ) -> None:
        self.loaded = loaded  # for what looks inside, as vqa.explain
        self.name = loaded.name
        self.counts = Counts()
        self._processor: Any = loaded.processor
        self._max_batch = max_batch
        self._identities = PictureIdentity()
        self._text = TextModel(loaded.model)
        self._features = Features(loaded.model, loaded.processor, self.counts, feature_bytes)
        self._prefixes = Prefixes(prefix_bytes)
        self._prefill = Prefill(self._text, self._features, self._prefixes, self.counts)
        self._scoring = Scoring(self._text, self._prefill, self._prefixes, self.counts, max_batch)
        self._ends = _ends(loaded)
        self._turn = threading.Lock()

    @property
    def identity(self) -> str:
        """What answers depend on, as `Loaded.identity`; large weights take seconds at first."""
        return self.loaded.identity

    def answer(
        self, requests: Sequence[Request], cancel: threading.Event | None = None
    ) -> list[Answer]:
        """Answer all requests, in their order, `max_batch` at a time.

        Once `cancel` is set, unfinished answers end at the next token. Raises InputError where a
        conversation is empty, ends with an answer or is longer than the model's context.
        """
        began = perf_counter()
        prompts = self._prepare(requests)
        answers: dict[int, Answer] = {}
        for start in range(0, len(requests), self._max_batch):
            part = range(start, min(start + self._max_batch, len(requests)))
            order = sorted(part, key=lambda i: len(prompts[i]))  # equal lengths run together
            rows = self._rows([prompts[i] for i in order], [requests[i] for i in order])
            clock = _Clock(perf_counter() if start else began)
            for _ in self._run(rows, clock, cancel):
                pass
            for i, row in zip(order, rows, strict=True):
                answers[i] = self._answer(row, clock.seconds())
        return [answers[i] for i in range(len(requests))]

    def stream(
        self, request: Request, cancel: threading.Event | None = None
    ) -> Iterator[str | Answer]:
        """Yield pieces of text, which joined are the answer's text, and last the `Answer`.

        Raises InputError as `answer` does, at the first piece.
        """
        clock = _Clock(perf_counter())
        rows = self._rows(self._prepare([request]), [request])
        text = TextStream(self._processor.tokenizer)
        for _ in self._run(rows, clock, cancel):
            piece = "" if rows[0].finish == "stop" else text.add(rows[0].ids[-1])
            if piece:
                yield piece
        rest = text.rest()
        if rest:
            yield rest
        yield self._answer(rows[0], clock.seconds())

    def choose(
        self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Natural logarithm of the probability of each of `choices[i]` as the answer to request i.

        Each is taken as the whole answer, the end of turn included. Raises InputError as `answer`
        does, also where a choice does not fit into the model's context.
        """
        found = [
            choice(self._processor, request, prompt, text)
            for request, prompt, texts in zip(
                requests, self._prepare(requests), choices, strict=True
            )
            for text in texts
        ]
        context = self._text.context
        longest = max(map(len, found), default=0)
        if context is not None and longest > context:
            raise InputError(
                f"The conversation with a choice takes {longest} tokens; the model holds "
                f"{context}: use fewer pictures, a shorter text or shorter choices."
            )
        groups = by_prompt(found)
        scores = [0.0] * len(found)
        for start in range(0, len(groups), self._max_batch):
            part = groups[start : start + self._max_batch]
            with self._turn, _full_memory():
                scored = self._scoring([[found[number] for number in group] for group in part])
            for group, values in zip(part, scored, strict=True):
                for number, value in zip(group, values, strict=True):
                    scores[number] = value
        each = iter(scores)
        return [list(islice(each, len(texts))) for texts in choices]

    def view(self, picture: Image) -> Image:
        """The picture after the resizing and cropping that the encoder's picture goes through."""
        return view(self._processor.image_processor, picture)

    def forget(self) -> None:
        """Drop all kept features, keys and values."""
        with self._turn:
            self._features.clear()
            self._prefixes.clear()

    def _run(
        self, rows: list[Row], clock: _Clock, cancel: threading.Event | None
    ) -> Iterator[None]:
        """Choose tokens, yielding after each, until all rows have finished."""
        with _full_memory():
            if cancel is not None and cancel.is_set():
                for row in rows:
                    row.finish = "cancelled"
                return
            with self._turn:
                before = self.counts.encoder_seconds
                filled = self._prefill([row.prompt for row in rows])
                decoding = Decoding(
                    self._text, self._prefixes, self.counts, filled, rows, self._ends
                )
                decoding.choose()
                clock.encode = self.counts.encoder_seconds - before
            clock.first_token = perf_counter() - clock.began
            yield
            while decoding.active:
                with self._turn:
                    if cancel is not None and cancel.is_set():
                        decoding.cancel()
                        return
                    decoding.advance()
                    decoding.choose()
                yield

    def _prepare(self, requests: Sequence[Request]) -> list[Prompt]:
        prompts = prepare(self._processor, requests, self._identities)
        context = self._text.context
        for prompt in prompts:
            if context is not None and len(prompt) >= context:
                raise InputError(
                    f"The conversation takes {len(prompt)} tokens, {int(prompt.is_image.sum())} of "
                    f"them for pictures; the model holds {context}: use fewer pictures, a shorter "
                    "text, or begin a new conversation."
                )
        return prompts

    def _rows(self, prompts: Sequence[Prompt], requests: Sequence[Request]) -> list[Row]:
        return [
            Row.of(prompt, request.settings, self._text.context)
            for prompt, request in zip(prompts, requests, strict=True)
        ]

    def _answer(self, row: Row, seconds: Seconds) -> Answer:
        finish = row.finish or "cancelled"
        ids = row.ids[:-1] if finish == "stop" else row.ids
        return Answer(
            text=readable(self._processor.tokenizer, ids),
            finish=finish,
            probability=row.probability,
            image_tokens=int(row.prompt.is_image.sum()),
            prompt_tokens=len(row.prompt),
            new_tokens=len(row.ids),
            seconds=seconds,
        )


def _ends(loaded: Loaded) -> frozenset[int]:
    """Ids that end an answer: the prompt's ends of turn, and those the checkpoint itself names."""
    named = loaded.model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [] if named is None else [named]
    return frozenset([*end_of_turn_ids(loaded.processor), *listed])


@contextmanager
def _full_memory() -> Iterator[None]:
    """Say what to do where the memory of the device is full."""
    try:
        yield
    except Exception as error:
        if not memory_is_full(error):
            raise
        raise VQAError(
            "The memory is full: ask fewer questions at once, use a smaller or "
            "quantized model, or the CPU."
        ) from error
