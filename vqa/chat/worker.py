"""The worker that answers in the background, and the answers on their way."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from threading import Condition, Event, Thread
from types import TracebackType

from vqa.answering import Answer, Answerer, Request
from vqa.errors import VQAError

EXCHANGED = "The model has been exchanged: begin again."


class Job:
    """An answer on its way. `Worker.submit` makes it; any thread may follow or cancel it."""

    def __init__(self, request: Request, worker: Worker) -> None:
        self.request = request
        self._worker = worker
        self._pieces: list[str] = []
        self._answer: Answer | None = None
        self._error: VQAError | None = None
        self._stop = Event()
        self._changed = Condition()

    @property
    def text(self) -> str:
        """The text so far; the whole of it once done."""
        with self._changed:
            return self._answer.text if self._answer else "".join(self._pieces)

    @property
    def done(self) -> bool:
        """Whether nothing more will come: answered, cancelled or failed."""
        with self._changed:
            return self._ended

    @property
    def ahead(self) -> int:
        """How many other questions are answered before this one; 0 when it is its turn."""
        return self._worker.ahead(self)

    def follow(self, heartbeat: float | None = None) -> Iterator[str | Answer]:
        """Yield the text so far, then new pieces as they come, and last the whole `Answer`.

        To leave and come back later loses nothing: the next call starts from the first word. While
        nothing comes, an empty string is yielded every `heartbeat` seconds, so that the follower
        can look after other things. Raises VQAError where the answer failed.
        """
        seen = 0
        while True:
            with self._changed:
                if not self._ended and len(self._pieces) == seen:
                    self._changed.wait(heartbeat)  # may wake for nothing: then it yields nothing
                new, ended = self._pieces[seen:], self._ended
            seen += len(new)
            if new or not ended:
                yield "".join(new)
                continue
            if self._error is not None:
                raise self._error
            assert self._answer is not None
            yield self._answer
            return

    def result(self) -> Answer:
        """Wait for the whole answer. Raises VQAError where it failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended)
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer

    def cancel(self) -> None:
        """End it now, with the text so far as its answer. What is done already stays as it is."""
        self._stop.set()
        self._worker.forget(self)
        with self._changed:
            if not self._ended:
                self._answer = Answer("".join(self._pieces), "cancelled")
                self._changed.notify_all()

    @property
    def _ended(self) -> bool:
        return self._answer is not None or self._error is not None

    def _run(self, answerer: Answerer) -> None:
        try:
            for piece in answerer.stream(self.request, self._stop):
                if self._stop.is_set() or self._take(piece):
                    return
            self._fail(VQAError(f"{answerer.name} stopped without an answer."))
        except VQAError as error:
            self._fail(error)
        except Exception as error:  # whatever a model raises must not end the worker
            what = " ".join(str(error).split()) or type(error).__name__
            self._fail(VQAError(f"{answerer.name} failed to answer: {what}"))

    def _take(self, piece: str | Answer) -> bool:
        """Keep a piece for the followers; whether it was the last."""
        with self._changed:
            if self._ended:  # cancelled meanwhile
                return True
            if isinstance(piece, Answer):
                self._answer = piece
            else:
                self._pieces.append(piece)
            self._changed.notify_all()
            return self._ended

    def _fail(self, error: VQAError) -> None:
        with self._changed:
            if not self._ended:
                self._error = error
                self._changed.notify_all()


class Worker:
    """Answers one question after the other in one background thread, everybody in turn.

    Who has asked most recently waits behind all others who wait: nobody can fill the queue. The
    questions of one owner are answered in the order they came.
    """

    def __init__(self, answerer: Answerer) -> None:
        self.answerer = answerer
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()  # by owner, whose turn is next
        self._running: Job | None = None
        self._beside: list[Event] = []  # what ends the work that goes on beside the questions
        self._closed = False
        self._changed = Condition()
        self._thread = Thread(target=self._work, name="vqa-worker", daemon=True)
        self._thread.start()

    def submit(self, request: Request, owner: str = "") -> Job:
        """Put a question of `owner` into the queue. Raises VQAError once the worker is closed."""
        job = Job(request, self)
        with self._changed:
            if self._closed:
                raise VQAError("The chat has ended: start it again.")
            self._waiting.setdefault(owner, deque()).append(job)
            self._changed.notify()
        return job

    def ahead(self, job: Job) -> int:
        """How many of the questions that are here now are answered before `job`."""
        with self._changed:
            order = list(self._order())
            if job not in order:
                return 0
            return order.index(job) + (self._running is not None)

    def waiting(self, owner: str) -> int:
        """How many questions of `owner` wait: what is being answered does not count."""
        with self._changed:
            return len(self._waiting.get(owner, ()))

    def forget(self, job: Job) -> None:
        """Take a question out of the queue, if it still waits there."""
        with self._changed:
            for owner, jobs in self._waiting.items():
                if job in jobs:
                    jobs.remove(job)
                    if not jobs:
                        del self._waiting[owner]
                    return

    @contextmanager
    def beside(self, stop: Event) -> Iterator[Answerer]:
        """Use the answerer for long work in this thread, while questions are answered too.

        `stop` is set when the worker closes, which then waits for the end of the block: nobody has
        the model any more. Raises VQAError once the worker is closed.
        """
        with self._changed:
            if self._closed:
                raise VQAError(EXCHANGED)
            self._beside.append(stop)
        try:
            yield self.answerer
        finally:
            with self._changed:
                self._beside.remove(stop)
                self._changed.notify_all()

    def close(self) -> None:
        """Cancel everything, wait for work beside the questions, and end the thread."""
        with self._changed:
            self._closed = True
            jobs = [*self._order(), *([self._running] if self._running else [])]
            for stop in self._beside:
                stop.set()
            self._changed.notify_all()
        for job in jobs:
            job.cancel()
        self._thread.join()
        with self._changed:
            self._changed.wait_for(lambda: not self._beside)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _order(self) -> Iterator[Job]:
        """The waiting questions as they will be answered: one of each owner, round and round."""
        for turn in zip_longest(*self._waiting.values()):
            yield from (job for job in turn if job is not None)

    def _next(self) -> Job:
        owner, jobs = self._waiting.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self._waiting[owner] = jobs  # behind all others
        return job

    def _work(self) -> None:
        while True:
            with self._changed:
                self._running = None
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._running = self._next()
            job._run(self.answerer)
            del job  # its pictures need not wait in memory for the next question
