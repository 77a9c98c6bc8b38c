"""`LocalEngine`: answers requests with a model in this process."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from PIL.Image import Image

from vqa.answering import Answer, Request, SamplingParams, Seconds
from vqa.engine.beam_search import BeamDecoder
from vqa.engine.choice_scoring import ChoiceScorer, encode_choice, group_by_prompt
from vqa.engine.completion import (
    Timer,
    answer_of,
    check_choice_context,
    check_context,
    describe_damaged_weight,
    end_ids,
    explain_failures,
    identity_of,
    in_one_piece,
)
from vqa.engine.continuous_batch import ContinuousBatch
from vqa.engine.decoding import BatchDecoder, PromptedSequence
from vqa.engine.detokenizer import IncrementalDetokenizer
from vqa.engine.image_tokens import ImageTokenCache, encoder_view
from vqa.engine.prefill import Prefill
from vqa.engine.prefix_cache import PrefixCache
from vqa.engine.prompt import ImageFingerprints, Prompt, encode_request
from vqa.engine.sampling import Sampler, completion_limit
from vqa.engine.stats import EngineStats
from vqa.engine.text_model import TextModel
from vqa.errors import InputError, NotFiniteError, VQAError
from vqa.inputs.hints import joined_blocks, names_block, with_hints

if TYPE_CHECKING:
    from vqa.models.checkpoints import LoadedModel
    from vqa.reading import TextReader


_Decoder = TypeVar("_Decoder", BatchDecoder, BeamDecoder, BatchDecoder | BeamDecoder)


class LocalEngine:
    """An `Answerer` over a loaded model. Any thread may call it; calls take turns at each token.

    The image tokens of pictures (up to `feature_bytes`) and the keys and values of prompts and
    completions (up to `prefix_bytes`) are cached: the next question about the same pictures and
    the next turn of a conversation run no encoder and only their new tokens. `stats` counts what
    was run.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        max_batch: int = 16,
        feature_bytes: int = 256 << 20,
        prefix_bytes: int = 1 << 30,
        reader: TextReader | None = None,
    ) -> None:
        self.loaded = loaded  # for what reads the model itself, as vqa.explain
        self.name = loaded.name
        self.dtype = loaded.dtype
        self.stats = EngineStats()
        self._processor: Any = loaded.processor
        self._max_batch = max_batch
        self._fingerprints = ImageFingerprints()
        self._text = TextModel(loaded.model)
        self._image_tokens = ImageTokenCache(
            loaded.model, loaded.processor, self.stats, feature_bytes, loaded.classifier
        )
        self._prefixes = PrefixCache(prefix_bytes)
        self._prefill = Prefill(self._text, self._image_tokens, self._prefixes, self.stats)
        self._score = ChoiceScorer(self._text, self._prefill, self._prefixes, self.stats, max_batch)
        self._reader = reader
        self._ends = end_ids(loaded)
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """What answers depend on: the weights, seconds of hashing at first, and what is read."""
        return identity_of(self.loaded, self._reader)

    def answer(
        self, requests: Sequence[Request], cancel: threading.Event | None = None
    ) -> list[Answer]:
        """Answer all requests, in their order, `max_batch` at a time, or as many beams.

        Once `cancel` is set, unfinished answers end at the next token. Raises InputError where a
        conversation is empty, ends with an answer or is longer than the model's context, and
        NotFiniteError where the model's numbers for one of them are NaN or infinite.
        """
        began = perf_counter()
        requests, hints = self.with_hints(requests)
        prompts = [self._encode(request) for request in requests]
        answers: dict[int, Answer] = {}
        for part in self._batches(requests):
            order = sorted(part, key=lambda i: len(prompts[i]))  # equal lengths run together
            sequences = [self._new_sequence(prompts[i], requests[i]) for i in order]
            timer = Timer(perf_counter() if answers else began)
            self._decode(sequences, requests[order[0]].settings, timer, cancel)
            for i, sequence in zip(order, sequences, strict=True):
                answers[i] = self.answer_of(sequence, timer.seconds(), hints[i])
        return [answers[i] for i in range(len(requests))]

    def stream(
        self, request: Request, cancel: threading.Event | None = None
    ) -> Iterator[str | Answer]:
        """Yield pieces of text, which joined are the answer's text, and last the `Answer`.

        An answer by beam search comes in one piece. Raises InputError as `answer` does, at the
        first piece, and NotFiniteError at any.
        """
        if request.settings.num_beams > 1:
            (answer,) = self.answer([request], cancel)
            yield from in_one_piece(answer)
            return
        if cancel is not None and cancel.is_set():
            sequence, hints = self.encode_sequence(request)
            yield self.answer_of(sequence, Seconds(), hints)
            return
        batch = self.open_batch()
        events = batch.add({0: request})
        while True:
            for _, event in events:
                if isinstance(event, VQAError):
                    raise event
                if isinstance(event, Answer):
                    yield event
                    return
                if event.text:
                    yield event.text
            if cancel is not None and cancel.is_set():
                yield batch.cancel(0)
                return
            events = batch.step()

    def open_batch(self) -> ContinuousBatch:
        """Make an empty batch, to which requests are added while others are being answered."""
        return ContinuousBatch(self)

    def score_choices(
        self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Compute the log probability of each of `choices[i]` as the answer to request i.

        Each is taken as the whole answer, the end of turn included. Raises InputError and
        NotFiniteError as `answer` does, InputError also where a choice does not fit into the
        model's context.
        """
        requests, _ = self.with_hints(requests)
        encoded = [
            encode_choice(self._processor, request, prompt, text)
            for request, prompt, texts in zip(
                requests, map(self._encode, requests), choices, strict=True
            )
            for text in texts
        ]
        check_choice_context(max(map(len, encoded), default=0), self._text.context)
        groups = group_by_prompt(encoded)
        scores = [0.0] * len(encoded)
        for start in range(0, len(groups), self._max_batch):
            part = groups[start : start + self._max_batch]
            with self._lock, explain_failures(lambda: self.damage):
                scored = self._score([[encoded[index] for index in group] for group in part])
            for group, values in zip(part, scored, strict=True):
                for index, value in zip(group, values, strict=True):
                    if math.isnan(value):
                        raise NotFiniteError(self.damage)
                    scores[index] = value
        rest = iter(scores)
        return [list(islice(rest, len(texts))) for texts in choices]

    def with_hints(
        self, requests: Sequence[Request]
    ) -> tuple[list[Request], list[tuple[str, ...]]]:
        """Put what is known of each picture before the questions about it.

        That is what the encoder's classifier names, for a model that was trained with hints, and
        what the picture says, for an engine that reads. Returns the requests with it, and of each
        what was put before its pictures, empty where nothing was.
        """
        blocks = iter(self._blocks([image for request in requests for image in request.images]))
        hints = [tuple(islice(blocks, len(request.images))) for request in requests]
        hinted = [
            replace(request, messages=with_hints(request.messages, part))
            for request, part in zip(requests, hints, strict=True)
        ]
        return hinted, [part if any(part) else () for part in hints]

    def _blocks(self, images: Sequence[Image]) -> tuple[str, ...]:
        """Write the block of each picture; encode and read what is not cached."""
        names, text = [""] * len(images), [""] * len(images)
        if self.loaded.classifier is not None:
            keys = [self._fingerprints.of(image) for image in images]
            with self._lock, explain_failures(lambda: self.damage):
                encoded = self._image_tokens.encode(dict(zip(keys, images, strict=True)))
            names = [names_block(encoded[key].names) for key in keys]
        if self._reader is not None:
            text = [self._reader.block(image) for image in images]
        return tuple(map(joined_blocks, names, text))

    def encoder_view(self, picture: Image) -> Image:
        """Resize and crop a picture as the encoder's input is."""
        return encoder_view(self._processor.image_processor, picture)

    def clear_caches(self) -> None:
        """Drop all cached image tokens, keys and values."""
        with self._lock:
            self._image_tokens.clear()
            self._prefixes.clear()

    def _batches(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Part requests into batches that are decoded alike, of `max_batch` rows."""
        alike: dict[tuple[int, float], list[int]] = {}
        for i, request in enumerate(requests):
            settings = request.settings
            alike.setdefault((settings.num_beams, settings.length_penalty), []).append(i)
        for (num_beams, _), part in alike.items():
            size = max(1, self._max_batch // num_beams)
            yield from (part[start : start + size] for start in range(0, len(part), size))

    def _decode(
        self,
        sequences: list[PromptedSequence],
        settings: SamplingParams,
        timer: Timer,
        cancel: threading.Event | None,
    ) -> None:
        """Choose tokens until all sequences have finished, or `cancel` is set."""
        if cancel is not None and cancel.is_set():
            for sequence in sequences:
                sequence.finish_reason = "cancelled"
            return
        before = self.stats.encoder_seconds
        kind: Callable[..., BatchDecoder | BeamDecoder] = BatchDecoder
        if settings.num_beams > 1:
            kind = partial(
                BeamDecoder, num_beams=settings.num_beams, length_penalty=settings.length_penalty
            )
        decoder, failed = self._start_decoder(kind, sequences)
        timer.encode = self.stats.encoder_seconds - before
        timer.first_token = perf_counter() - timer.began
        while not failed and decoder.unfinished:
            if cancel is not None and cancel.is_set():
                with self._lock:
                    decoder.cancel()
                return
            failed = self.step(decoder)
        if failed:
            raise NotFiniteError(self.damage)

    def encode_sequence(self, request: Request) -> tuple[PromptedSequence, tuple[str, ...]]:
        """Encode a request for `prefill`; return the sequence and the hints in its prompt.

        Raises InputError as `answer` does, and for beam search: beams are not decoded together with
        sequences that come and go.
        """
        if request.settings.num_beams > 1:
            raise InputError("`num_beams`: in a continuous batch answers are greedy or sampled.")
        (request,), (hints,) = self.with_hints([request])
        return self._new_sequence(self._encode(request), request), hints

    def prefill(
        self, sequences: Sequence[PromptedSequence]
    ) -> tuple[BatchDecoder, list[PromptedSequence]]:
        """Run the prompts and choose first tokens.

        Returns a decoder of the sequences, and those of them whose logits are not finite.
        """
        return self._start_decoder(BatchDecoder, sequences)

    def _start_decoder(
        self, kind: Callable[..., _Decoder], sequences: Sequence[PromptedSequence]
    ) -> tuple[_Decoder, list[PromptedSequence]]:
        with self._lock, explain_failures(lambda: self.damage):
            prefilled = self._prefill([sequence.prompt for sequence in sequences])
            decoder = kind(self._text, self._prefixes, self.stats, prefilled, sequences, self._ends)
            return decoder, decoder.sample()

    def step(self, decoder: BatchDecoder | BeamDecoder) -> list[PromptedSequence]:
        """Run the model on the last tokens and choose the next one of each unfinished sequence.

        Returns the sequences whose logits are not finite.
        """
        with self._lock, explain_failures(lambda: self.damage):
            decoder.advance()
            return decoder.sample()

    def end(self, decoder: BatchDecoder, sequences: Collection[PromptedSequence]) -> None:
        """End unfinished sequences where they are."""
        with self._lock:
            decoder.cancel(sequences)

    def detokenizer(self) -> IncrementalDetokenizer:
        """Make a detokenizer for one completion."""
        return IncrementalDetokenizer(self._processor.tokenizer)

    def _encode(self, request: Request) -> Prompt:
        prompt = encode_request(self._processor, request, self._fingerprints)
        check_context(len(prompt), int(prompt.is_image.sum()), self._text.context)
        return prompt

    def _new_sequence(self, prompt: Prompt, request: Request) -> PromptedSequence:
        return PromptedSequence(
            completion_limit(request.settings, len(prompt), self._text.context),
            Sampler.of(request.settings),
            prompt=prompt,
        )

    def answer_of(
        self, sequence: PromptedSequence, seconds: Seconds, hints: tuple[str, ...]
    ) -> Answer:
        """Make the answer of a sequence, wherever it has ended."""
        prompt = sequence.prompt
        pictures = int(prompt.is_image.sum())
        return answer_of(sequence, self._processor.tokenizer, seconds, pictures, len(prompt), hints)

    @cached_property
    def damage(self) -> str:
        """Name the weight that is not finite, if one is; all weights are read for it, once."""
        return describe_damaged_weight(self.loaded.model)
