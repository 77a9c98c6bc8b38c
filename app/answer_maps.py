"""What answers rest on in their pictures: mapped in the background, and cached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING
from weakref import ref

from vqa.answering import Request
from vqa.chat.worker import Worker
from vqa.errors import VQAError

if TYPE_CHECKING:
    from vqa.explain import By, Explanation

_MOST = 32  # maps of a few kilobytes each
_WAIT = 5.0  # seconds in which what is being answered may end, before a map in advance
_IN_ADVANCE = 1  # versions of the pictures that are read in one go: a question may come after each

Load = Callable[[], tuple[Request, str]]  # the conversation before an answer, and its text


@dataclass(eq=False)
class MapJob:
    """A map on its way, or there; any thread may read it. `stop` ends it."""

    answer: str  # its id
    by: By
    load: Load
    in_advance: bool  # for nobody who waits: it ends as soon as anything else begins
    model: str = ""
    progress: float = 0.0
    unscored: Explanation | None = None  # the maps, while they are scored
    explanation: Explanation | None = None
    error: str = ""
    stop: Event = field(default_factory=Event)
    done: Event = field(default_factory=Event)

    @property
    def shown(self) -> Explanation | None:
        """Return the maps, whether they are scored or not yet."""
        return self.explanation or self.unscored

    @property
    def dropped(self) -> bool:
        """Return whether it ended, or will, with neither scores nor a reason why there are none."""
        return self.stop.is_set() and self.explanation is None


class AnswerMaps:
    """Maps answers in threads of their own, one at a time: it takes much memory.

    `worker` gives the worker of the model that is read; its maps go when it is exchanged.
    """

    def __init__(self, worker: Callable[[], Worker]) -> None:
        self._worker = worker
        self._of: ref[Worker] | None = None  # whose maps these are; its model may go
        self._jobs: OrderedDict[tuple[str, By], MapJob] = OrderedDict()  # the last used at the end
        self._lock = Lock()
        self._one_at_a_time = Lock()

    def begin(self, answer: str, by: By, load: Load, in_advance: bool = False) -> MapJob:
        """Return the map of an answer, on its way if need be. Raises VQAError without a model."""
        worker = self._worker()
        with self._lock:
            if self._of is None or self._of() is not worker:
                self._of = ref(worker)
                self._jobs.clear()
            job = self._jobs.get((answer, by))
            if job is None or job.dropped or job.error:
                job = self._jobs[answer, by] = MapJob(answer, by, load, in_advance)
                arguments = (job, worker)
                Thread(target=self._run, args=arguments, name="vqa-map", daemon=True).start()
            self._jobs.move_to_end((answer, by))
            while len(self._jobs) > _MOST:
                self._jobs.popitem(last=False)
        return job

    def drop_in_advance(self) -> None:
        """End a map that nobody waits for: a model with another worker is to be asked."""
        with self._lock:
            for job in self._jobs.values():
                if job.in_advance:
                    job.stop.set()

    def _run(self, job: MapJob, worker: Worker) -> None:
        try:
            if job.in_advance and not worker.wait_until_idle(_WAIT):
                job.stop.set()
            else:
                self._explain(job, worker)
        except VQAError as error:
            job.error = str(error)
        except Exception as error:  # whatever a model raises is shown on the page
            what = " ".join(str(error).split()) or type(error).__name__
            job.error = f"{worker.answerer.name} failed: {what}"
        finally:
            job.done.set()

    def _explain(self, job: MapJob, worker: Worker) -> None:
        from vqa.explain import explain
        from vqa.explain.covering import AT_ONCE

        def tell(done: int, total: int | None) -> None:
            if job.stop.is_set():
                raise _StoppedError
            job.progress = min(1.0, done / total) if total else 0.0

        def show(unscored: Explanation) -> None:
            job.unscored = unscored

        try:
            with worker.beside(job.stop, job.in_advance) as answerer, self._one_at_a_time:
                tell(0, None)
                job.model = answerer.name
                request, text = job.load()
                job.explanation = explain(
                    answerer, request, text, job.by, progress=tell,
                    at_once=_IN_ADVANCE if job.in_advance else AT_ONCE, mapped=show,
                )  # fmt: skip
        except _StoppedError:
            pass


class _StoppedError(Exception):
    pass
