"""Workers on a Ray cluster, which answer the batches of a run; this process writes their rows.

Each worker loads the model once. Batches are given out one by one, the earliest first, and their
rows are handed on in the order of the plan, so that what is written is what one process writes.
"""

from __future__ import annotations

import heapq
import os
import platform
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa.errors import InputError, VQAError
from vqa.evaluation.answer_rows import PredictionRow
from vqa.evaluation.batch_answering import BatchAnswerer, BatchRun, load_groups
from vqa.evaluation.batch_plan import Batch
from vqa.evaluation.predictions import RowId
from vqa.evaluation.ray_cluster import ray_cluster, share_out
from vqa.utils.console import one_line

if TYPE_CHECKING:
    from vqa.answering import Answerer

Load = Callable[[], "tuple[Answerer, str, str | None]"]  # answerer, identity, type of its weights
_AT_ONCE = 2  # batches of a worker: the pictures of one are read while it answers the other
_AHEAD = 4  # batches for each worker that may be done before an earlier one is
_DEATHS = 3  # of workers with the same batch, or in the same place while they load
_PATIENCE = 120.0  # seconds without any worker, after which the user gets a notice


class RayWorker:
    """What runs in each process of the cluster. Errors are returned, as they are to be raised."""

    def __init__(self, load: Load, folder: str, needed: str) -> None:
        self._load = load
        self._folder = folder  # of the command: paths may be relative to it
        self._needed = needed
        self._one = threading.Lock()

    def load(self) -> tuple[str, str, str | None] | VQAError:
        """Load the model; return its name, what identifies its answers, and its type."""
        with suppress(OSError):
            os.chdir(self._folder)
        if not os.path.exists(self._needed):
            return InputError(
                f"{self._needed} is not there on {platform.node()}: all machines need the same "
                "paths"
            )
        try:
            self._answerer, identity, dtype = self._load()
        except VQAError as error:
            return _plain(error)
        return self._answerer.name, identity, dtype

    def begin(self, run: BatchRun) -> None:
        """Answer batches of this run from now on."""
        self._previous: dict[RowId, str] = {}
        self._batches = BatchAnswerer(self._answerer, run, self._previous)

    def answer(
        self, begun: None, number: int, batch: Batch, previous: Mapping[RowId, str]
    ) -> list[PredictionRow] | VQAError:
        """Return the new rows of a batch; its pictures are read while another is answered.

        `begun` is what `begin` has returned, for which Ray waits.
        """
        self._previous.update(previous)
        tasks = [(number, group) for group in batch]
        rows = sum(len(group.rows) for group in batch)
        try:
            with closing(load_groups(self._batches, tasks, rows)) as groups:
                first = next(groups)
                with self._one:
                    return self._batches.answer(number, chain([first], groups))
        except VQAError as error:
            return _plain(error)


@dataclass(eq=False)
class _Place:
    """A worker, from when it is asked for; another takes its place where it dies."""

    actor: Any
    deaths: int = 0  # of workers in this place before they had loaded the model
    ready: bool = False
    busy: int = 0  # batches that it has, by their costs
    plan: _Plan | None = None  # whose batches it answers
    begun: Any = None


class _Plan:
    """The batches of a run: which wait for a worker, and the rows of those that are done."""

    def __init__(self, batches: Sequence[Batch] = (), run: Any = None) -> None:
        self.batches = batches
        self.run = run  # where Ray keeps the `BatchRun`
        self.done: dict[int, list[PredictionRow]] = {}
        self._waiting = list(range(len(batches)))  # a heap
        self._deaths: Counter[int] = Counter()

    def first(self, stop: int) -> tuple[int, int] | None:
        """Return the earliest batch that waits, if it comes before `stop`, and its cost.

        One that a worker has died with is answered alone: which batch it was shows then.
        """
        if not self._waiting or self._waiting[0] >= stop:
            return None
        number = self._waiting[0]
        return number, _AT_ONCE if self._deaths[number] else 1

    def take(self) -> None:
        """Let the earliest batch wait no longer."""
        heapq.heappop(self._waiting)

    def give_back(self, number: int, reason: str) -> None:
        """Let a batch wait again whose worker has died. Raises VQAError where too many have."""
        heapq.heappush(self._waiting, number)
        self._deaths[number] += 1
        if self._deaths[number] == _DEATHS:
            key = self.batches[number][0].rows[0].id
            raise VQAError(f"{_DEATHS} workers have died at the rows from {key!r} on: {reason}")


class RayWorkers:
    """A pool of workers: `name`, `identity` and `dtype` are those of the model in each of them."""

    def __init__(self, start: Callable[[], Any], count: int, notice: Callable[[str], None]) -> None:
        self._start = start
        self._notice = notice
        self._warned = False
        # who works at it, which batch it is (None: loading), and its cost
        self._pending: dict[Future[Any], tuple[_Place, int | None, int]] = {}
        self._places = [self._begin() for _ in range(count)]
        self._models: list[tuple[str, str, str | None]] = []
        while not self._models:
            self._collect(_Plan())
        self.name, self.identity, self.dtype = self._models[0]

    def answer_batches(
        self, run: BatchRun, batches: Sequence[Batch], previous: Mapping[RowId, str]
    ) -> Generator[list[PredictionRow]]:
        """Yield the new rows of each batch, in the order of the plan."""
        import ray

        plan = _Plan(batches, ray.put(run))
        for number in range(len(batches)):
            while number not in plan.done:
                self._give_out(plan, number + _AHEAD * len(self._places), previous)
                self._collect(plan)
            yield plan.done.pop(number)

    def _begin(self, deaths: int = 0) -> _Place:
        place = _Place(self._start(), deaths)
        self._pending[place.actor.load.remote().future()] = place, None, 0
        return place

    def _give_out(self, plan: _Plan, stop: int, previous: Mapping[RowId, str]) -> None:
        """Give the batches before `stop` to workers, as long as one has fewer than it may have."""
        while first := plan.first(stop):
            number, cost = first
            free = [each for each in self._places if each.ready and each.busy + cost <= _AT_ONCE]
            if not free:
                return
            plan.take()
            place = min(free, key=lambda place: place.busy)
            batch = plan.batches[number]
            keys = [row.id for group in batch for row in group.rows]
            valid = {key: previous[key] for key in keys if key in previous}
            if place.plan is not plan:
                place.plan, place.begun = plan, place.actor.begin.remote(plan.run)
            answer = place.actor.answer.remote(place.begun, number, batch, valid)
            self._pending[answer.future()] = place, number, cost
            place.busy += cost

    def _collect(self, plan: _Plan) -> None:
        """Wait until a worker has loaded, has answered a batch, or has died."""
        from ray.exceptions import RayError, RayTaskError

        # not by Ray's own waiting, from which a signal would come out as something else
        ended = wait(self._pending, _PATIENCE, FIRST_COMPLETED).done
        if not ended and not self._warned and not any(place.ready for place in self._places):
            self._warned = True
            self._notice("no worker has loaded the model yet: it is large, or the cluster busy")
        for future in ended:
            place, number, cost = self._pending.pop(future)
            place.busy -= cost
            try:
                result = future.result()
            except RayTaskError as error:
                reason = one_line(f"{type(error.cause).__name__}: {error.cause}", 300)
                raise VQAError(f"a worker failed: {reason}") from error
            except RayError as error:
                reason = str(error).splitlines()[0]
                self._replace(place, reason)
                if number is not None:
                    plan.give_back(number, reason)
                continue
            if isinstance(result, VQAError):
                raise result
            if number is None:
                self._join(place, result)
            else:
                plan.done[number] = result

    def _join(self, place: _Place, model: tuple[str, str, str | None]) -> None:
        self._models = [*self._models[:1], model]
        if self._models[0] != model:
            types = f"{self._models[0][2]}, {model[2]}"
            raise VQAError(f"the machines have not the same model, or type of weights ({types})")
        place.ready = True

    def _replace(self, place: _Place, reason: str) -> None:
        """Start another worker in the place of a dead one."""
        import ray

        if place not in self._places:  # by the first of its batches that came back
            return
        deaths = 0 if place.ready else place.deaths + 1
        if deaths == _DEATHS:
            raise VQAError(f"{_DEATHS} workers have died while they loaded the model: {reason}")
        ray.kill(place.actor)  # it may only be out of reach
        self._notice(f"a worker has died, another takes its rows: {reason}")
        self._places[self._places.index(place)] = self._begin(deaths)


@contextmanager
def ray_workers(
    load: Load,
    *,
    workers: int | None = None,
    address: str | None = None,
    gpus: bool = True,
    needed: Path = Path(),
    notice: Callable[[str], None] = lambda text: None,
) -> Iterator[RayWorkers]:
    """Start a pool of workers, each with what `load` loads; they end with the block.

    `workers`, `address`, `gpus`: as in `share_out` and `ray_cluster`. `needed`: what must be there
    on all machines. `notice` takes that a worker has died, or that there is none for long.

    Raises InputError where Ray is not installed, or the cluster has not so much room.
    """
    with ray_cluster(address, workers) as ray:
        share = share_out(ray.nodes(), workers, gpus)
        actor = ray.remote(RayWorker).options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_concurrency=_AT_ONCE,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        yield RayWorkers(
            lambda: actor.remote(load, os.getcwd(), str(needed)), share.workers, notice
        )


def _plain(error: VQAError) -> VQAError:
    """Make an error of what any process can load."""
    return InputError(str(error)) if isinstance(error, InputError) else VQAError(str(error))
