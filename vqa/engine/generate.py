"""`GenerateAnswerer`: answers requests by transformers' own `generate`, whatever the model.

`generate` chooses greedily among logits in which `TokenChoices` has left one token: so sequences
are sampled with seeds of their own, their probabilities are known, given texts are scored, and an
answer is streamed and stopped, all in the one loop that every architecture is made for. Beams are
searched by `generate` itself.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from queue import SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from vqa.answering import Answer, Request, SamplingParams
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
from vqa.engine.detokenizer import IncrementalDetokenizer
from vqa.engine.generate_batch import Batch, BeamChoices, GivenTokens, TokenChoices, search_of
from vqa.engine.sampling import Sampler, SequenceState, completion_limit
from vqa.errors import InputError, VQAError, error_line
from vqa.inputs.hints import with_hints
from vqa.inputs.processor_inputs import ModelInputs, completion_ids, prepare_inputs
from vqa.models.devices import on_device_of
from vqa.models.memory import is_out_of_memory

if TYPE_CHECKING:
    from vqa.models.checkpoints import LoadedModel
    from vqa.reading import TextReader

# what a checkpoint may say of how it writes; other settings name code, or other ways to search
_SETTINGS = (
    "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "decoder_start_token_id",
    "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "forced_bos_token_id",
    "no_repeat_ngram_size", "repetition_penalty", "sequence_bias", "suppress_tokens",
)  # fmt: skip


class GenerateAnswerer:
    """An `Answerer` over a model of any architecture. Any thread may call it; calls take turns.

    Nothing is cached from one call to the next. A probability is of the logits after the
    checkpoint's own penalties, such as that for repetition.
    """

    def __init__(
        self, loaded: LoadedModel, *, max_batch: int = 16, reader: TextReader | None = None
    ) -> None:
        self.name = loaded.name
        self.dtype = loaded.dtype
        self._loaded = loaded
        self._model = loaded.model
        self._processor = loaded.processor
        self._max_batch = max_batch
        self._reader = reader
        self.end_ids = end_ids(loaded)  # of tokens that end an answer
        text = loaded.model.config.get_text_config()
        self._context: int | None = getattr(text, "max_position_embeddings", None)
        self._damage = cache(partial(describe_damaged_weight, loaded.model))
        self._lock = threading.Lock()
        self._model.generation_config = self._settings()

    @property
    def identity(self) -> str:
        """What answers depend on: the weights, seconds of hashing at first, and what is read."""
        return identity_of(self._loaded, self._reader)

    def answer(
        self, requests: Sequence[Request], cancel: threading.Event | None = None
    ) -> list[Answer]:
        """Answer all requests, in their order, `max_batch` at a time.

        Once `cancel` is set, unfinished answers end at the next token. Raises InputError where the
        model takes no such conversation, or it is longer than the model's context, and
        NotFiniteError where the model's numbers for one of them are NaN or infinite.
        """
        answers: dict[int, Answer] = {}
        for part, batch in self._batches(requests):
            self._run(batch, cancel)
            if batch.search:
                self._score(batch)
            answers |= zip(part, self._answers(batch), strict=True)
        return [answers[i] for i in range(len(requests))]

    def stream(
        self, request: Request, cancel: threading.Event | None = None
    ) -> Iterator[str | Answer]:
        """Yield pieces of text, which joined are the answer's text, and last the `Answer`.

        Raises InputError as `answer` does, at the first piece, and NotFiniteError at any.
        """
        if request.settings.num_beams > 1:  # no token is certain before the end
            (answer,) = self.answer([request], cancel)
            yield from in_one_piece(answer)
            return
        batch = self._begin([request])
        (sequence,) = batch.sequences
        text = IncrementalDetokenizer(self._processor.tokenizer)
        tokens: SimpleQueue[int | Exception | None] = SimpleQueue()
        stop = threading.Event()

        def generate() -> None:
            outcome = None
            try:
                self._run(batch, cancel, stop, lambda: tokens.put(sequence.ids[-1]))
            except Exception as error:  # raised again where the stream is read
                outcome = error
            tokens.put(outcome)

        threading.Thread(target=generate, name="vqa-generate", daemon=True).start()
        try:
            while isinstance(token := tokens.get(), int):
                piece = "" if token in self.end_ids else text.add(token)
                if piece:
                    yield piece
        finally:
            stop.set()  # who reads no further wants no more
        if token is not None:
            raise token
        rest = text.flush()
        if rest:
            yield rest
        yield self._answers(batch)[0]

    def score_choices(
        self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Compute the log probability of each of `choices[i]` as the answer to request i.

        Each is taken as the whole answer, the end of turn included. Raises as `answer` does.
        """
        greedy = SamplingParams()  # what is given is not searched for
        pairs = [
            (
                replace(request, settings=greedy),
                completion_ids(self._processor, request.messages, text),
            )
            for request, texts in zip(requests, choices, strict=True)
            for text in texts
        ]
        scores: dict[int, float] = {}
        for part, batch in self._batches([request for request, _ in pairs]):
            given = [GivenTokens(pairs[i][1]) for i in part]
            batch.sequences = [SequenceState(len(tokens.ids), chooser=tokens) for tokens in given]
            for length, tokens in zip(batch.inputs.lengths, given, strict=True):
                check_choice_context(length + len(tokens.ids), self._context)
            self._run(batch, None)
            scores |= {
                i: math.fsum(s.log_probs) for i, s in zip(part, batch.sequences, strict=True)
            }
        rest = (scores[i] for i in range(len(pairs)))
        return [list(islice(rest, len(texts))) for texts in choices]

    def _score(self, batch: Batch) -> None:
        """Compute the log probabilities of completions that a search gave.

        `generate` itself has them only together with all logits of all beams, gigabytes of them.
        """
        searched = [sequence for sequence in batch.sequences if sequence.ids]
        if len(searched) < len(batch.sequences):  # cancelled before it began
            return
        given = [SequenceState(len(s.ids), chooser=GivenTokens(s.ids)) for s in searched]
        self._run(replace(batch, sequences=given, search=None), None)
        for sequence, scored in zip(searched, given, strict=True):
            sequence.log_probs = scored.log_probs

    def _batches(self, requests: Sequence[Request]) -> Iterator[tuple[list[int], Batch]]:
        """Part requests into batches; yield the indices of each, and its beginning.

        Processors take rows that all have pictures, or none; some take no rows whose pictures
        differ in their numbers of tiles, and those are answered one by one. A beam search has one
        setting for all its rows.
        """
        alike: dict[Any, list[int]] = {}
        for i, request in enumerate(requests):
            alike.setdefault((not request.images, search_of(request.settings)), []).append(i)
        for (_, search), rows in sorted(alike.items(), key=lambda group: group[0][0]):
            size = max(1, self._max_batch // search[0]) if search else self._max_batch
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                try:
                    yield part, self._begin([requests[i] for i in part])
                    continue
                except InputError:
                    if len(part) == 1:
                        raise
                yield from (([i], self._begin([requests[i]])) for i in part)

    def _begin(self, requests: Sequence[Request]) -> Batch:
        timer = Timer(perf_counter())
        hints = [self._hints(request) for request in requests]
        inputs = prepare_inputs(
            self._processor,
            [with_hints(r.messages, h) for r, h in zip(requests, hints, strict=True)],
        )
        image_tokens = self._image_tokens(inputs)
        for length, count in zip(inputs.lengths, image_tokens, strict=True):
            check_context(length, count, self._context)
        sequences = [
            SequenceState(
                completion_limit(request.settings, length, self._context),
                Sampler.of(request.settings),
            )
            for request, length in zip(requests, inputs.lengths, strict=True)
        ]
        search = search_of(requests[0].settings)
        if search and len({sequence.max_new_tokens for sequence in sequences}) > 1:
            raise InputError(
                "the context leaves rows of a beam search different room"
            )  # one by one
        timer.encode = perf_counter() - timer.began
        return Batch(inputs, hints, image_tokens, sequences, timer, search)

    def _hints(self, request: Request) -> tuple[str, ...]:
        """Write the block of each picture's text; empty ones where nothing is read."""
        return tuple(self._reader.block(i) if self._reader else "" for i in request.images)

    def _image_tokens(self, inputs: ModelInputs) -> list[int]:
        ids = inputs.tensors["input_ids"]  # [B, L]
        image = getattr(self._model.config, "image_token_id", None)
        if image is None:
            image = self._processor.image_token_id
        counts: list[int] = (ids == image).sum(-1).tolist()
        return counts

    def _run(
        self,
        batch: Batch,
        cancel: threading.Event | None,
        stop: threading.Event | None = None,
        on_token: Callable[[], None] = lambda: None,
    ) -> None:
        """Generate the sequences of a batch, until all have ended or are cancelled."""

        def cancelled() -> bool:
            return any(event is not None and event.is_set() for event in (cancel, stop))

        choose = BeamChoices if batch.search else TokenChoices
        choices = choose(batch, self.end_ids, self._pad, cancelled, on_token)
        with explain_failures(self._damage), self._lock, torch.inference_mode():
            if choices.cancel():
                return
            try:
                output = self._model.generate(
                    **on_device_of(self._model, batch.inputs.tensors),
                    **choices.settings,
                    max_new_tokens=max(s.max_new_tokens for s in batch.sequences),
                    logits_processor=LogitsProcessorList([choices.choose]),
                    stopping_criteria=StoppingCriteriaList([choices.finished]),
                )
                choices.take(output)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise InputError(self._failure(error)) from error
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                raise VQAError(self._failure(error)) from error

    def _failure(self, error: Exception) -> str:
        kind = self._model.config.model_type
        return f"{self.name} ({kind}) fails on this conversation: {error_line(error)}"

    def _answers(self, batch: Batch) -> list[Answer]:
        seconds = batch.timer.seconds()
        return [
            answer_of(
                sequence,
                self._processor.tokenizer,
                seconds,
                image_tokens,
                length,
                hints if any(hints) else (),
            )
            for sequence, image_tokens, length, hints in zip(
                batch.sequences, batch.image_tokens, batch.inputs.lengths, batch.hints, strict=True
            )
        ]

    @property
    def _pad(self) -> int:
        pad = self._processor.tokenizer.pad_token_id
        return min(self.end_ids, default=0) if pad is None else int(pad)

    def _settings(self) -> GenerationConfig:
        """Take from a checkpoint's settings what may change greedy decoding."""
        own = self._model.generation_config
        settings = {name: getattr(own, name, None) for name in _SETTINGS}
        return GenerationConfig(
            **{name: value for name, value in settings.items() if value is not None},
            do_sample=False,
            num_beams=1,
            eos_token_id=sorted(self.end_ids) or None,
            pad_token_id=self._pad,
        )
