"""Continuous batching: answers that are written together, and begin and end independently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from vqa.answering import Answer, Request, Seconds, Token
from vqa.engine.completion import Timer
from vqa.engine.decoding import BatchDecoder, PromptedSequence
from vqa.engine.detokenizer import IncrementalDetokenizer
from vqa.engine.stats import EngineStats
from vqa.errors import NotFiniteError, VQAError

Events = list[tuple[int, Token | Answer | VQAError]]
Failed = list[PromptedSequence]  # whose numbers are not finite


class BatchEngine(Protocol):
    """The engine methods that a batch calls; other threads may run between two calls."""

    stats: EngineStats

    @property
    def damage(self) -> str:
        """What is wrong with the weights, once numbers were not finite."""
        ...

    def encode_sequence(self, request: Request) -> tuple[PromptedSequence, tuple[str, ...]]:
        """Encode a request for `prefill`; return the sequence and the hints in its prompt.

        Raises InputError for a request that is refused.
        """
        ...

    def prefill(self, sequences: list[PromptedSequence]) -> tuple[BatchDecoder, Failed]:
        """Run the prompts, choose first tokens; return a decoder, and the sequences that fail."""
        ...

    def step(self, decoder: BatchDecoder) -> Failed:
        """Choose the next token of each unfinished sequence; return those that fail."""
        ...

    def end(self, decoder: BatchDecoder, sequences: list[PromptedSequence]) -> None:
        """End unfinished sequences where they are."""
        ...

    def detokenizer(self) -> IncrementalDetokenizer:
        """Make a detokenizer for one completion."""
        ...

    def answer_of(
        self, sequence: PromptedSequence, seconds: Seconds, hints: tuple[str, ...]
    ) -> Answer:
        """Make the answer of a sequence, wherever it has ended."""
        ...


@dataclass
class _Running:
    sequence: PromptedSequence
    hints: tuple[str, ...]
    text: IncrementalDetokenizer
    timer: Timer


class ContinuousBatch:
    """The `AnswerBatch` of an engine: a step is one forward pass for all answers.

    What is added is prefilled apart, and decoded with the others from then on. An error of one
    answer ends no other; one of a whole step is raised.
    """

    def __init__(self, engine: BatchEngine) -> None:
        self._engine = engine
        self._decoder: BatchDecoder | None = None
        self._running: dict[int, _Running] = {}

    def __len__(self) -> int:
        """Count the answers that are not at their end."""
        return len(self._running)

    def add(self, requests: Mapping[int, Request]) -> Events:
        """Begin answers; return their first tokens, and the error of one that is refused."""
        events: Events = []
        added: dict[int, _Running] = {}
        for key, request in requests.items():
            began = perf_counter()
            try:
                sequence, hints = self._engine.encode_sequence(request)
            except VQAError as error:
                events.append((key, error))
                continue
            added[key] = _Running(sequence, hints, self._engine.detokenizer(), Timer(began))
        if not added:
            return events
        before = self._engine.stats.encoder_seconds
        try:
            decoder, failed = self._engine.prefill([one.sequence for one in added.values()])
        except VQAError as error:
            return [*events, *((key, error) for key in added)]
        for one in added.values():
            one.timer.encode = self._engine.stats.encoder_seconds - before
            one.timer.first_token = perf_counter() - one.timer.began
        if len(self):
            assert self._decoder is not None
            self._decoder.absorb(decoder)
        else:
            self._decoder = decoder
        self._running |= added
        return events + self._events(list(added), failed)

    def step(self) -> Events:
        """Run the model once; return the next token of each answer, and the errors of some."""
        if self._decoder is None or not self._running:
            return []
        failed = self._engine.step(self._decoder)
        return self._events(list(self._running), failed)

    def cancel(self, key: int) -> Answer:
        """End an answer that goes on, with its text so far."""
        assert self._decoder is not None
        one = self._running.pop(key)
        self._engine.end(self._decoder, [one.sequence])
        return self._answer(one)

    def _events(self, keys: Iterable[int], failed: Failed) -> Events:
        events: Events = []
        for key in keys:
            one = self._running[key]
            sequence = one.sequence
            if any(sequence is bad for bad in failed):
                del self._running[key]
                events.append((key, NotFiniteError(self._engine.damage)))
                continue
            text = "" if sequence.finish_reason == "stop" else one.text.add(sequence.ids[-1])
            if sequence.finish_reason is not None:
                text += one.text.flush()
            events.append((key, Token(text, sequence.log_probs[-1])))
            if sequence.finish_reason is not None:
                del self._running[key]
                events.append((key, self._answer(one)))
        return events

    def _answer(self, one: _Running) -> Answer:
        return self._engine.answer_of(one.sequence, one.timer.seconds(), one.hints)
