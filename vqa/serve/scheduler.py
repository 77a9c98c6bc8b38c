"""The one thread that answers everybody: a bounded queue, and batches that requests join."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from threading import Condition, Thread
from time import monotonic

from vqa.answering import (
    Answer,
    AnswerBatch,
    Answerer,
    Request,
    SupportsAnswerEach,
    SupportsBatches,
    Token,
    word_count,
)
from vqa.errors import VQAError

Event = Token | Answer | VQAError
_PREFILLED = 4  # requests that join at once: the others' next tokens wait meanwhile
_LONGEST_WAIT = 60  # seconds that a client is asked to wait before it tries again

log = logging.getLogger(__name__)


class QueueFull(VQAError):
    """No place to wait: another try may succeed after `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many requests wait already: try again in {seconds} s")
        self.seconds = seconds


class ServerCloses(VQAError):
    """The server ends; no request is taken any more."""


@dataclass(frozen=True)
class _Job:
    model: str
    request: Request
    emit: Callable[[Event], None]
    since: float


class Scheduler:
    """Answers requests in one thread, in the order they came, up to `max_batch` at a time.

    Requests of one model are decoded together and join as places become free; several models take
    turns. At most `max_waiting` more wait. Events of a request go to its `emit`, called in the
    scheduler's thread: tokens, and last an answer or an error.
    """

    def __init__(
        self, answerers: Mapping[str, Answerer], *, max_batch: int, max_waiting: int
    ) -> None:
        self._answerers = answerers
        self._batches = {name: open_batch(answerer) for name, answerer in answerers.items()}
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._keys = count()
        self._waiting: OrderedDict[int, _Job] = OrderedDict()
        self._running: dict[int, _Job] = {}
        self._leaving: set[int] = set()  # of the running ones
        self._seconds = 1.0  # that an answer takes, of late
        self._closed = False
        self._changed = Condition()
        self._thread = Thread(target=self._work, name="vqa-scheduler", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Count the requests that wait for a place."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Count the requests that are being answered."""
        return len(self._running)

    @property
    def ready(self) -> bool:
        """Return whether requests are taken and answered."""
        return not self._closed and self._thread.is_alive()

    def submit(self, model: str, request: Request, emit: Callable[[Event], None]) -> int:
        """Queue a request; the key to `cancel` it by. Raises QueueFull, or VQAError once closed."""
        with self._changed:
            if self._closed:
                raise ServerCloses("the server is shutting down")
            places = self._max_batch - len(self._running)
            if len(self._waiting) - places >= self._max_waiting:
                rounds = (len(self._waiting) + 1) / self._max_batch
                wait = math.ceil(self._seconds * rounds)
                raise QueueFull(min(max(wait, 1), _LONGEST_WAIT))
            key = next(self._keys)
            self._waiting[key] = _Job(model, request, emit, monotonic())
            self._changed.notify_all()
            return key

    def cancel(self, key: int) -> None:
        """End a request. If it runs it ends at the next token, with the answer so far."""
        with self._changed:
            if self._waiting.pop(key, None) is None and key in self._running:
                self._leaving.add(key)

    def close(self) -> None:
        """Take no more requests, fail those that are not answered, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        for job in [*self._waiting.values(), *self._running.values()]:
            job.emit(ServerCloses("the server is shutting down"))
        self._waiting.clear()
        self._running.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting or self._running)
                if self._closed:
                    return
                leaving = self._leaving & self._running.keys()  # some have ended meanwhile
                self._leaving = set()
                free = self._max_batch - len(self._running) + len(leaving)
                joining = dict(islice(self._waiting.items(), min(free, _PREFILLED)))
                for key, job in joining.items():
                    del self._waiting[key]
                    self._running[key] = job
            for key in leaving:
                self._emit(key, self._batches[self._running[key].model].cancel(key))
            for model in self._batches:
                requests = {k: job.request for k, job in joining.items() if job.model == model}
                self._run(model, requests)

    def _run(self, model: str, requests: Mapping[int, Request]) -> None:
        """Take up requests, and let all answers of a model grow by a token."""
        batch = self._batches[model]
        try:
            if requests:
                self._emit_all(batch.add(requests))
            if len(batch):
                self._emit_all(batch.step())
        except Exception as error:  # whatever a model raises ends its requests, not the server
            if isinstance(error, VQAError):
                failure = error
            else:
                log.error("%s failed", model, exc_info=error)
                failure = VQAError("the model failed to answer")
            for key in [key for key, job in self._running.items() if job.model == model]:
                self._emit(key, failure)
            self._batches[model] = open_batch(self._answerers[model])

    def _emit_all(self, events: Sequence[tuple[int, Event]]) -> None:
        for key, event in events:
            self._emit(key, event)

    def _emit(self, key: int, event: Event) -> None:
        job = self._running[key]
        if not isinstance(event, Token):
            with self._changed:
                del self._running[key]
            self._seconds += 0.1 * (monotonic() - job.since - self._seconds)
        job.emit(event)


class WholeAnswers:
    """The `AnswerBatch` of an answerer that gives whole answers: a step answers all that wait."""

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._waiting: dict[int, Request] = {}

    def __len__(self) -> int:
        """Count the requests that wait for the next step."""
        return len(self._waiting)

    def add(self, requests: Mapping[int, Request]) -> list[tuple[int, Event]]:
        """Take requests for the next step."""
        self._waiting |= requests
        return []

    def step(self) -> list[tuple[int, Event]]:
        """Answer all that wait."""
        requests, self._waiting = self._waiting, {}
        events: list[tuple[int, Event]] = []
        for key, outcome in zip(requests, self._outcomes(list(requests.values())), strict=True):
            if isinstance(outcome, Answer):
                events.append((key, Token(outcome.text, _log_prob(outcome))))
            events.append((key, outcome))
        return events

    def _outcomes(self, requests: Sequence[Request]) -> Sequence[Answer | VQAError]:
        if isinstance(self._answerer, SupportsAnswerEach):
            return self._answerer.answer_each(requests)
        outcomes: list[Answer | VQAError] = []
        for request in requests:
            try:
                outcomes += self._answerer.answer([request])
            except VQAError as error:
                outcomes.append(error)
        return outcomes

    def cancel(self, key: int) -> Answer:
        """Drop a request that waits."""
        del self._waiting[key]
        return Answer("", "cancelled")


def _log_prob(answer: Answer) -> float:
    """Sum up the log probabilities of an answer's tokens, of which it has the mean over words."""
    if not answer.probability:
        return -math.inf
    return math.log(answer.probability) * max(word_count(answer.text), 1)


def open_batch(answerer: Answerer) -> AnswerBatch:
    """Make a batch of an answerer, continuous where it can."""
    if isinstance(answerer, SupportsBatches):
        return answerer.open_batch()
    return WholeAnswers(answerer)
