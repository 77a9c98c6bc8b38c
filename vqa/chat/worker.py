"""The worker that answers in the background, and the answers on their way."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, zip_longest
from threading import Condition, Event, Thread

from vqa.answering import Answer, AnswerBatch, Answerer, Request, SupportsBatches, Token
from vqa.errors import VQAError

EXCHANGED = "The model has been exchanged: begin again."
_PLACES = 8  # answers that are written together: the more, the slower each, and the more memory


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
        """Return the text so far; all of it once done."""
        with self._changed:
            return self._answer.text if self._answer else "".join(self._pieces)

    @property
    def done(self) -> bool:
        """Return whether nothing more will come: answered, cancelled or failed."""
        with self._changed:
            return self._ended

    @property
    def ahead(self) -> int:
        """Count the other questions that are answered before this one; 0 when it is its turn."""
        return self._worker.ahead(self)

    def follow(self, heartbeat: float | None = None) -> Iterator[str | Answer]:
        """Yield the text so far, then new pieces as they come, and last the whole `Answer`.

        To leave and come back later loses nothing: the next call starts from the first word. While
        nothing comes, an empty string is yielded every `heartbeat` seconds, so that the follower
        can look after other things. Raises VQAError where the answer failed.
        """
        sent = 0  # pieces
        while True:
            with self._changed:
                if not self._ended and len(self._pieces) == sent:
                    self._changed.wait(heartbeat)  # may wake for nothing: then it yields nothing
                new, ended = self._pieces[sent:], self._ended
            sent += len(new)
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
        self._worker.remove(self)
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
        except Exception as error:  # whatever a model raises must not end the worker
            self._fail(_failure(answerer, error))

    def _take(self, piece: str | Answer) -> bool:
        """Store a piece for the followers; whether it was the last."""
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


class _AnswersTogether:
    """The answers that are being written: a token of each a step, where the answerer has batches.

    So a long answer holds up no short one. Without batches a step writes one whole answer.
    """

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._batch = _open_batch(answerer)
        self._keys = count()
        self.jobs: dict[int, Job] = {}  # that go on after the step

    def step(self, new: Job | None) -> None:
        """Begin an answer, where one is new, and let all of them grow."""
        if new is not None and (self._batch is None or new.request.settings.num_beams > 1):
            new._run(self._answerer)
            new = None
        if self._batch is None:
            return
        try:
            self._advance(self._batch, new)
        except Exception as error:  # of the whole step: that of one answer is an event
            for job in self.jobs.values():
                job._fail(_failure(self._answerer, error))
            self.jobs, self._batch = {}, _open_batch(self._answerer)

    def _advance(self, batch: AnswerBatch, new: Job | None) -> None:
        for key in [key for key, job in self.jobs.items() if job.done]:
            batch.cancel(key)
            del self.jobs[key]
        events: list[tuple[int, Token | Answer | VQAError]] = []
        if new is not None:
            key = next(self._keys)
            self.jobs[key] = new
            events += batch.add({key: new.request})
        for key, event in (*events, *batch.step()):
            if isinstance(event, VQAError):
                self.jobs.pop(key)._fail(event)
            elif isinstance(event, Answer):
                self.jobs.pop(key)._take(event)
            elif event.text:
                self.jobs[key]._take(event.text)


def _open_batch(answerer: Answerer) -> AnswerBatch | None:
    return answerer.open_batch() if isinstance(answerer, SupportsBatches) else None


def _failure(answerer: Answerer, error: Exception) -> VQAError:
    if isinstance(error, VQAError):
        return error
    what = " ".join(str(error).split()) or type(error).__name__
    return VQAError(f"{answerer.name} failed to answer: {what}")


class Worker:
    """Answers questions in one background thread, everybody in turn.

    Up to eight answers are written together, where the answerer has batches, else one after the
    other. Who has asked most recently waits behind all others who wait, and half of the places are
    for those who have none: nobody can fill the queue. The questions of one owner are begun in the
    order they came.
    """

    def __init__(self, answerer: Answerer) -> None:
        self.answerer = answerer
        self._places = _PLACES if isinstance(answerer, SupportsBatches) else 1
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()  # by owner, whose turn is next
        self._running: dict[Job, str] = {}  # and its owner
        self._beside: list[Event] = []  # what ends the work that goes on beside the questions
        self._spare: list[Event] = []  # those of it that end as soon as anything else begins
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
            self._end_spare()
            self._changed.notify_all()
        return job

    def ahead(self, job: Job) -> int:
        """Count the questions here now that are answered before `job`."""
        with self._changed:
            order = list(self._order())
            if job not in order:
                return 0
            return order.index(job) + len(self._running)

    def waiting(self, owner: str) -> int:
        """Count the questions of `owner` that wait: what is being answered does not count."""
        with self._changed:
            return len(self._waiting.get(owner, ()))

    @property
    def idle(self) -> bool:
        """Return whether no question is answered or waits."""
        with self._changed:
            return self._is_idle()

    def wait_until_idle(self, timeout: float) -> bool:
        """Wait some seconds until no question is answered or waits; tell whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_idle() or self._closed, timeout)

    def remove(self, job: Job) -> None:
        """Remove a question from the queue, if it still waits there."""
        with self._changed:
            for owner, jobs in self._waiting.items():
                if job in jobs:
                    jobs.remove(job)
                    if not jobs:
                        del self._waiting[owner]
                    return

    @contextmanager
    def beside(self, stop: Event, spare: bool = False) -> Iterator[Answerer]:
        """Use the answerer for long work in this thread, while questions are answered too.

        `stop` is set when the worker closes, which then waits for the end of the block: nobody has
        the model any more. Of `spare` work, which nobody waits for, it is also set by the next
        question and by other work, and at once where there is any. Raises VQAError once the worker
        is closed.
        """
        with self._changed:
            if self._closed:
                raise VQAError(EXCHANGED)
            if not spare:
                self._end_spare()
            elif self._beside or not self._is_idle():
                stop.set()
            self._beside.append(stop)
            if spare:
                self._spare.append(stop)
        try:
            yield self.answerer
        finally:
            with self._changed:
                self._beside.remove(stop)
                self._spare = [one for one in self._spare if one is not stop]
                self._changed.notify_all()

    def close(self) -> None:
        """Cancel everything, wait for work beside the questions, and end the thread."""
        with self._changed:
            self._closed = True
            jobs = [*self._order(), *self._running]
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

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _is_idle(self) -> bool:
        return not self._running and not self._waiting

    def _end_spare(self) -> None:
        for stop in self._spare:
            stop.set()

    def _order(self) -> Iterator[Job]:
        """Yield the waiting questions as they will be answered: one of each owner in turn."""
        for turn in zip_longest(*self._waiting.values()):
            yield from (job for job in turn if job is not None)

    def _next(self) -> Job | None:
        """Take the question whose turn it is; None where there is no place for any."""
        free = self._places - len(self._running)
        for owner, jobs in self._waiting.items():
            if free > self._places // 2 or (free and owner not in self._running.values()):
                del self._waiting[owner]
                job = jobs.popleft()
                if jobs:
                    self._waiting[owner] = jobs  # behind all others
                self._running[job] = owner
                return job
        return None

    def _work(self) -> None:
        answers = _AnswersTogether(self.answerer)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._running or self._waiting or self._closed)
                if self._closed:
                    return
                job = self._next()
            answers.step(job)
            with self._changed:
                on = list(answers.jobs.values())
                self._running = {one: owner for one, owner in self._running.items() if one in on}
                if self._is_idle():
                    self._changed.notify_all()
            del job, on  # their pictures need not wait in memory for the next question
