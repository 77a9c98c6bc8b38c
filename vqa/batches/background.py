"""Answer runs in the background, one after the other, on the model that a server has."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import IO, Any

import psutil

from vqa.answering import Answerer, SamplingParams, SupportsIdentity
from vqa.batches.picture_root import find_root
from vqa.batches.quotas import Limits, RowQuota
from vqa.batches.run_store import ACTIVE, BadLine, Run, RunStore, State
from vqa.batches.unpack import unpack
from vqa.chat import Worker
from vqa.chat.turn import NotFoundError
from vqa.data import read
from vqa.data.embedded_pictures import DiskQuota, store_pictures_in
from vqa.data.formats.probe import probe_file
from vqa.data.identity import sha256
from vqa.data.row_reader import BadRow, BadRows, Notice
from vqa.data.unique_ids import RepeatedIds
from vqa.errors import InputError, VQAError
from vqa.evaluation.answer_rows import Cancelled
from vqa.evaluation.predicting import predict
from vqa.evaluation.question_rows import read_questions
from vqa.utils.processes import lives_since

BATCH_SIZE = 8  # a question of the chat waits while the prompts of a batch are read
MAX_NEW_TOKENS = 64  # as in `vqa predict`
_BAD_SHOWN = 200
_SAMPLES = 20  # of progress, for the rate
_ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")
_log = logging.getLogger(__name__)


_NO_LIMITS = Limits()


@dataclass(frozen=True)
class Progress:
    """How far a run is that is answered or waits here."""

    ahead: int  # runs that come before it; 0 where it is being answered
    done: int = 0
    total: int = 0
    rate: float = 0.0  # rows a second; 0 while unknown

    @property
    def seconds_left(self) -> float | None:
        """None while the rate is unknown."""
        return (self.total - self.done) / self.rate if self.rate else None


class Batches:
    """Answers everybody's runs in one background thread, in the order they came.

    `worker` gives the worker whose model answers. A run survives the server: what was being
    answered is then `stopped`, and `go_on` answers the rest. All methods raise NotFoundError for
    the runs of others, as for those that do not exist.
    """

    def __init__(self, directory: Path, worker: Callable[[], Worker]) -> None:
        self.store = RunStore(directory)
        self._worker = worker
        self._lock = Lock()  # for all below, and for changes of a run's state
        self._waiting: deque[tuple[str, str]] = deque()  # owner, key
        self._running: tuple[str, Event, Thread] | None = None
        self._samples: deque[tuple[float, int, int]] = deque(maxlen=_SAMPLES)  # time, done, total
        self.store.clean()

    def start(
        self,
        owner: str,
        name: str,
        data: IO[bytes],
        pictures: IO[bytes] | None = None,
        *,
        max_new_tokens: int = MAX_NEW_TOKENS,
        limits: Limits = _NO_LIMITS,
    ) -> str:
        """Begin a run with an uploaded data file and a zip of its pictures, and return its key.

        Raises InputError, and keeps nothing, where the data cannot be read, no picture of it is
        there, or `limits` are passed.
        """
        with self._lock:
            self._check_room(owner, limits)
        with self.store.new() as (key, folder):
            ending = Path(name).suffix.lower()
            data_file = folder / "given" / f"data{ending if ending in _ENDINGS else ''}"
            data_file.parent.mkdir()
            with data_file.open("wb") as file:
                data.seek(0)
                shutil.copyfileobj(data, file)
            root = folder / "pictures"
            if pictures is None:
                root.mkdir()
            else:
                unpack(pictures, "The zip file of pictures", root, limits.unpacked)
            run = Run(
                id=key, owner=owner, name=name, data=str(data_file.relative_to(folder)),
                images="pictures", max_new_tokens=max_new_tokens, rows=0, with_answers=0,
            )  # fmt: skip
            quota = limits.unpacked.quota(name, data_file.stat().st_size, folder)
            run = self._with_counts(run, limits, quota)
            with self._lock:
                self._check_room(owner, limits)  # others may have come while this one was unpacked
                self._enqueue(run)
        return key

    def start_here(
        self,
        owner: str,
        data: Path,
        images: Path | None = None,
        *,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> str:
        """Begin a run with a file and a folder of this machine, which stay where they are."""
        if probe_file(data).kind == "hub":  # a name of data that would be fetched
            raise InputError(f"Cannot read {data}: no such file or directory.")
        root = images or (data if data.is_dir() else data.parent)
        with self.store.new() as (key, _):
            run = Run(
                id=key, owner=owner, name=data.name, data=str(data.absolute()),
                images=str(root.absolute()), max_new_tokens=max_new_tokens, rows=0, with_answers=0,
            )  # fmt: skip
            run = self._with_counts(run, _NO_LIMITS)
            with self._lock:
                self._enqueue(run)
        return key

    def runs(self, owner: str) -> list[Run]:
        """List the owner's runs, the latest first."""
        with self._lock:
            return self._runs(owner)

    def run(self, owner: str, key: str) -> Run:
        """Return one run."""
        with self._lock:
            return self._current(self.store.get(owner, key))

    def progress(self, key: str) -> Progress | None:
        """Return how far a run is; None unless it waits or is answered by this server."""
        with self._lock:
            running = self._running is not None
            if self._running is not None and self._running[0] == key:
                return self._measured()
            keys = [waiting for _, waiting in self._waiting]
            return Progress(keys.index(key) + running) if key in keys else None

    def go_on(self, owner: str, key: str) -> None:
        """Answer the rest of a run that was stopped or has failed; errors are tried again."""
        with self._lock:
            run = self._current(self.store.get(owner, key))
            if run.state not in ACTIVE:
                self._enqueue(run)

    def stop(self, owner: str, key: str) -> None:
        """End a run where it is, and keep its answers. Does not wait for the end."""
        self.store.get(owner, key)
        with self._lock:
            if (owner, key) in self._waiting:
                self._waiting.remove((owner, key))
                self._end(owner, key, state="stopped")
            elif self._running is not None and self._running[0] == key:
                self._running[1].set()

    def delete(self, owner: str, key: str) -> None:
        """Stop a run, and remove all of it from the disk."""
        run = self.store.get(owner, key)
        self.stop(owner, key)
        self.wait(key)
        self.store.delete(run)

    def wait(self, key: str) -> None:
        """Wait until a run is not being answered here any more."""
        while self.progress(key) is not None:
            with self._lock:
                running = self._running
            if running is None or running[0] != key:
                time.sleep(0.05)
            elif running[2].is_alive():
                running[2].join()
            else:
                return

    # --- inside ---

    def _runs(self, owner: str) -> list[Run]:
        """List the owner's runs; the lock is held."""
        return [self._current(run) for run in self.store.all(owner)]

    def _check_room(self, owner: str, limits: Limits) -> None:
        """Raise InputError where a further run would pass the limits; the lock is held."""
        runs = self._runs(owner)
        if limits.runs is not None and len(runs) >= limits.runs:
            raise InputError(f"{len(runs)} runs are kept: delete one before the next.")
        active = sum(run.state in ACTIVE for run in runs)
        if limits.active is not None and active >= limits.active:
            raise InputError("Another of your runs is not done yet: wait for it, or stop it.")

    def _with_counts(self, run: Run, limits: Limits, quota: DiskQuota | None = None) -> Run:
        """Count the rows of a run, and check them. Raises InputError for useless data.

        `quota` is that of the pictures inside the data.
        """
        data = self.store.data(run)
        bad: list[BadRow] = []
        notices: list[Notice] = []
        rows = with_answers = with_pictures = 0
        missing = ""
        room = RowQuota(run.name, limits)

        def note_bad(row: BadRow) -> None:
            room.take(row)
            bad.append(row)

        try:
            with store_pictures_in(self.store.inside(run), quota):
                images = self.store.images(run)
                if not Path(run.images).is_absolute():  # an uploaded zip
                    images = find_root(data, images, lambda: RowQuota(run.name, limits))
                    inside = str(images.relative_to(self.store.folder(run)))
                    run = run.model_copy(update={"images": inside})
                for example in read(
                    data, images, need_answers=False, bad=note_bad, notice=notices.append
                ):
                    rows += 1
                    room.take(example)
                    with_answers += bool(example.answers)
                    complete = all(os.path.isfile(image) for image in example.images)
                    with_pictures += complete
                    missing = missing or ("" if complete else str(example.images[0]))
            if bad and not rows:
                raise BadRows(data, [(row.line, row.reason) for row in bad])
            if not rows:
                raise InputError(f"{run.name} has no rows.")
            if not with_pictures:
                raise InputError(
                    f"None of the pictures is there; the first row that names one has {missing}."
                )
        except InputError as error:
            raise InputError(self.without_paths(run, str(error))) from error
        return run.model_copy(
            update={
                "rows": rows,
                "with_answers": with_answers,
                "bad_count": len(bad),
                "repeated_ids": sum(ids.rows for ids in notices if isinstance(ids, RepeatedIds)),
                "bad": tuple(
                    BadLine(line=row.line, reason=self.without_paths(run, row.reason))
                    for row in bad[:_BAD_SHOWN]
                ),
            }
        )

    def without_paths(self, run: Run, message: str) -> str:
        """Take the server's paths out of a message: files are called as their owner knows them."""
        for path, name in (
            (self.store.data(run), run.name),
            (f"{self.store.images(run)}{os.sep}", ""),
            (f"{self.store.folder(run)}{os.sep}", ""),
        ):
            message = message.replace(str(path), name)
        return message

    def _enqueue(self, run: Run) -> None:
        """Let a run wait for its turn; the lock is held."""
        process = psutil.Process()
        now = {"process": process.pid, "process_began": process.create_time()}
        self.store.save(run.model_copy(update={"state": "waiting", "reason": "", **now}))
        self._waiting.append((run.owner, run.id))
        self._next()

    def _next(self) -> None:
        """Begin to answer the first that waits, where nothing is answered; the lock is held."""
        if self._running is None and self._waiting:
            owner, key = self._waiting.popleft()
            stop = Event()
            thread = Thread(
                target=self._work, args=(owner, key, stop), name="vqa-batch", daemon=True
            )
            self._samples.clear()
            thread.start()
            self._running = key, stop, thread

    def _work(self, owner: str, key: str, stop: Event) -> None:
        try:
            state, reason = self._answered(owner, key, stop)
            with self._lock:
                changes: dict[str, Any] = {"state": state, "reason": reason}
                if self._samples:
                    _, changes["done"], _ = self._samples[-1]
                self._end(owner, key, **changes)
        finally:  # whatever happens, others wait
            with self._lock:
                self._running = None
                self._next()

    def _answered(self, owner: str, key: str, stop: Event) -> tuple[State, str]:
        """Answer a run; in what state it ends, and why. In a frame of its own, which the model
        leaves with it."""
        try:
            run = self.store.get(owner, key)
            with self._worker().beside(stop) as answerer, store_pictures_in(self.store.inside(run)):
                self._predict(run, answerer, stop)
        except NotFoundError:
            return "stopped", ""
        except Cancelled:
            return "stopped", ""
        except VQAError as error:
            return "failed", self.without_paths(run, str(error))
        except Exception as error:  # whatever a model raises must not end the thread
            what = " ".join(str(error).split()) or type(error).__name__
            return "failed", f"The model failed: {what}"
        return "done", ""

    def _predict(self, run: Run, answerer: Answerer, stop: Event) -> None:
        identity = answerer.identity if isinstance(answerer, SupportsIdentity) else answerer.name
        if run.identity not in ("", identity):
            raise InputError(
                f"{run.model} has answered this run so far: load it again, the same way, to go on; "
                "or begin a new run."
            )
        with self._lock:
            self._change(run.owner, run.id, state="running", model=answerer.name, identity=identity)
        data = self.store.data(run)
        rows = read_questions(data, self.store.images(run))
        outcome = predict(
            answerer,
            rows.examples,
            self.store.predictions(run),
            SamplingParams(max_new_tokens=run.max_new_tokens),
            identity=identity,
            batch_size=BATCH_SIZE,
            failed=rows.failed,
            about={"model": answerer.name, "data": {"file": run.name, "sha256": sha256(data)}},
            progress=self._note,
            cancel=stop,
        )
        with self._lock:
            self._change(run.owner, run.id, errors=outcome.errors)

    def _note(self, done: int, total: int) -> None:
        with self._lock:
            self._samples.append((time.monotonic(), done, total))

    def _measured(self) -> Progress:
        if not self._samples:
            return Progress(0)
        (began, first, _), (now, done, total) = self._samples[0], self._samples[-1]
        return Progress(0, done, total, (done - first) / (now - began) if now > began else 0.0)

    def _change(self, owner: str, key: str, **values: Any) -> None:
        """Store changes of a run, unless it was deleted. The lock is held."""
        with suppress(NotFoundError):
            self.store.save(self.store.get(owner, key).model_copy(update=values))

    def _end(self, owner: str, key: str, **values: Any) -> None:
        """Store how a run ended. Where the disk is too full, `_current` knows that it ended."""
        try:
            self._change(owner, key, process=0, **values)
        except (OSError, VQAError) as error:
            _log.warning("The end of the run %s cannot be stored: %s", key, error)

    def _current(self, run: Run) -> Run:
        """Return the run, stopped where nobody answers it any more; the lock is held.

        Its server may be gone, or its end could not be written.
        """
        waits = (run.owner, run.id) in self._waiting
        is_here = waits or (self._running is not None and self._running[0] == run.id)
        if run.state not in ACTIVE or is_here or _is_elsewhere(run):
            return run
        return run.model_copy(update={"state": "stopped", "process": 0})


def _is_elsewhere(run: Run) -> bool:
    """Return whether another server has a run, and lives."""
    return run.process != os.getpid() and lives_since(run.process, run.process_began)
