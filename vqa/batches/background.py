"""Answer runs in the background, one after the other, on the model that a server has."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import IO, Any

import psutil

from vqa.answering import Answerer, Identified, Settings
from vqa.batches.runs import ACTIVE, BadLine, NotThere, Run, State, Store
from vqa.batches.unpack import ZipLimits, unpack
from vqa.chat import Worker
from vqa.data import read
from vqa.data.formats.look import look
from vqa.data.identity import sha256
from vqa.data.rows import BadRow, BadRows
from vqa.data.stored import Budget, stored_in
from vqa.errors import InputError, VQAError
from vqa.evaluation.asking import Cancelled
from vqa.evaluation.predict import predict
from vqa.evaluation.rows import asked_rows
from vqa.processes import lives_since

BATCH_SIZE = 8  # a question of the chat waits while the prompts of a batch are read
MAX_NEW_TOKENS = 64  # as in `vqa predict`
_BAD_SHOWN = 200
_SAMPLES = 20  # of progress, for the rate
_ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What an owner may ask for. None: as much as there is."""

    rows: int | None = None  # of a run
    runs: int | None = None  # that are kept
    active: int | None = None  # that wait or are answered
    unpacked: ZipLimits = field(default_factory=ZipLimits)


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
    """Everybody's runs in a directory, and the thread that answers them in the order they came.

    `worker` gives the worker whose model answers. A run survives the server: what was being
    answered is then `stopped`, and `go_on` answers the rest. All methods raise NotThere for the
    runs of others, as for those that do not exist.
    """

    def __init__(self, directory: Path, worker: Callable[[], Worker]) -> None:
        self.store = Store(directory)
        self._worker = worker
        self._lock = Lock()  # for all below, and for changes of a run's state
        self._waiting: deque[tuple[str, str]] = deque()  # owner, key
        self._running: tuple[str, Event, Thread] | None = None
        self._seen: deque[tuple[float, int, int]] = deque(maxlen=_SAMPLES)  # time, done, total
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
        """Begin a run with an uploaded data file, and a zip of its pictures; its key.

        Raises InputError, and keeps nothing, where the data cannot be read, no picture of it is
        there, or `limits` are passed.
        """
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
            budget = limits.unpacked.budget(name, data_file.stat().st_size, folder)
            run = self._looked_through(run, limits, budget)
            with self._lock:
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
        if look(data).kind == "hub":  # a name of data that would be fetched
            raise InputError(f"Cannot read {data}: no such file or directory.")
        root = images or (data if data.is_dir() else data.parent)
        with self.store.new() as (key, _):
            run = Run(
                id=key, owner=owner, name=data.name, data=str(data.absolute()),
                images=str(root.absolute()), max_new_tokens=max_new_tokens, rows=0, with_answers=0,
            )  # fmt: skip
            run = self._looked_through(run, _NO_LIMITS)
            with self._lock:
                self._enqueue(run)
        return key

    def runs(self, owner: str) -> list[Run]:
        """The owner's runs, the latest first."""
        with self._lock:
            return [self._as_it_is(run) for run in self.store.all(owner)]

    def run(self, owner: str, key: str) -> Run:
        """One run."""
        with self._lock:
            return self._as_it_is(self.store.get(owner, key))

    def progress(self, key: str) -> Progress | None:
        """How far a run is; None unless it waits or is answered by this server."""
        with self._lock:
            running = self._running is not None
            if self._running is not None and self._running[0] == key:
                return self._measured()
            keys = [waiting for _, waiting in self._waiting]
            return Progress(keys.index(key) + running) if key in keys else None

    def go_on(self, owner: str, key: str) -> None:
        """Answer the rest of a run that was stopped or has failed; errors are tried again."""
        with self._lock:
            run = self._as_it_is(self.store.get(owner, key))
            if run.state not in ACTIVE:
                self._enqueue(run)

    def stop(self, owner: str, key: str) -> None:
        """End a run where it is. What is answered is kept. Does not wait for the end."""
        self.store.get(owner, key)
        with self._lock:
            if (owner, key) in self._waiting:
                self._waiting.remove((owner, key))
                self._end(owner, key, state="stopped")
            elif self._running is not None and self._running[0] == key:
                self._running[1].set()

    def delete(self, owner: str, key: str) -> None:
        """Stop a run, and remove all that is kept of it."""
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

    def _check_room(self, owner: str, limits: Limits) -> None:
        mine = self.runs(owner)
        if limits.runs is not None and len(mine) >= limits.runs:
            raise InputError(f"{len(mine)} runs are kept: delete one before the next.")
        active = sum(run.state in ACTIVE for run in mine)
        if limits.active is not None and active >= limits.active:
            raise InputError("Another of your runs is not done yet: wait for it, or stop it.")

    def _looked_through(self, run: Run, limits: Limits, budget: Budget | None = None) -> Run:
        """The run with what there is to know of its rows. Raises InputError for useless data.

        `budget` is that of the pictures inside the data.
        """
        data = self.store.data(run)
        bad: list[BadRow] = []
        rows = with_answers = found = 0
        missing = ""
        try:
            with stored_in(self.store.inside(run), budget):
                run = run.model_copy(update={"images": str(self._root(run))})
                images = self.store.images(run)
                for example in read(data, images, need_answers=False, bad=bad.append):
                    rows += 1
                    with_answers += bool(example.answers)
                    there = all(Path(image).is_file() for image in example.images)
                    found += there
                    missing = missing or ("" if there else str(example.images[0]))
                    if limits.rows is not None and rows + len(bad) > limits.rows:
                        raise InputError(
                            f"{run.name} has more than {limits.rows} rows: ask in parts."
                        )
            if bad and not rows:
                raise BadRows(data, [(row.line, row.reason) for row in bad])
            if not rows:
                raise InputError(f"{run.name} has no rows.")
            if not found:
                raise InputError(
                    f"None of the pictures is there; the first row that names one has {missing}."
                )
        except InputError as error:
            raise InputError(self.told(run, str(error))) from error
        return run.model_copy(
            update={
                "rows": rows,
                "with_answers": with_answers,
                "bad_count": len(bad),
                "bad": tuple(
                    BadLine(line=row.line, reason=self.told(run, row.reason))
                    for row in bad[:_BAD_SHOWN]
                ),
            }
        )

    def _root(self, run: Run) -> Path:
        """The folder of uploaded pictures, or the only one in it, where a folder was packed."""
        given = self.store.images(run)
        if Path(run.images).is_absolute():
            return given
        inner = [path for path in given.iterdir() if path.is_dir()]
        for root in (given, *(inner if len(inner) == 1 else ())):
            rows = read(self.store.data(run), root, need_answers=False, bad=lambda _: None)
            with closing(rows):  # type: ignore[type-var]
                first = next((row for row in rows if row.images), None)
            if first is not None and Path(first.images[0]).is_file():
                return root.relative_to(self.store.folder(run))
        return Path(run.images)

    def told(self, run: Run, message: str) -> str:
        """A message without the paths of the server: files are called as their owner knows them."""
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
            self._seen.clear()
            thread.start()
            self._running = key, stop, thread

    def _work(self, owner: str, key: str, stop: Event) -> None:
        try:
            state, reason = self._answered(owner, key, stop)
            with self._lock:
                changes: dict[str, Any] = {"state": state, "reason": reason}
                if self._seen:
                    _, changes["done"], _ = self._seen[-1]
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
            with self._worker().beside(stop) as answerer, stored_in(self.store.inside(run)):
                self._predict(run, answerer, stop)
        except NotThere:
            return "stopped", ""
        except Cancelled:
            return "stopped", ""
        except VQAError as error:
            return "failed", self.told(run, str(error))
        except Exception as error:  # whatever a model raises must not end the thread
            what = " ".join(str(error).split()) or type(error).__name__
            return "failed", f"The model failed: {what}"
        return "done", ""

    def _predict(self, run: Run, answerer: Answerer, stop: Event) -> None:
        identity = answerer.identity if isinstance(answerer, Identified) else answerer.name
        if run.identity not in ("", identity):
            raise InputError(
                f"{run.model} has answered this run so far: load it again, the same way, to go on; "
                "or begin a new run."
            )
        with self._lock:
            self._change(run.owner, run.id, state="running", model=answerer.name, identity=identity)
        data = self.store.data(run)
        rows = asked_rows(data, self.store.images(run))
        outcome = predict(
            answerer,
            rows.examples,
            self.store.predictions(run),
            Settings(max_new_tokens=run.max_new_tokens),
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
            self._seen.append((time.monotonic(), done, total))

    def _measured(self) -> Progress:
        if not self._seen:
            return Progress(0)
        (began, first, _), (now, done, total) = self._seen[0], self._seen[-1]
        return Progress(0, done, total, (done - first) / (now - began) if now > began else 0.0)

    def _change(self, owner: str, key: str, **values: Any) -> None:
        """Keep changes of a run, unless it was deleted. The lock is held."""
        with suppress(NotThere):
            self.store.save(self.store.get(owner, key).model_copy(update=values))

    def _end(self, owner: str, key: str, **values: Any) -> None:
        """Keep how a run ended. Where the disk is too full for that, `_as_it_is` knows it ended."""
        try:
            self._change(owner, key, process=0, **values)
        except (OSError, VQAError) as error:
            _log.warning("The end of the run %s cannot be kept: %s", key, error)

    def _as_it_is(self, run: Run) -> Run:
        """The run, stopped where nobody answers it any more, whatever was kept; the lock is held.

        Its server may be gone, or its end could not be written.
        """
        waits = (run.owner, run.id) in self._waiting
        is_here = waits or (self._running is not None and self._running[0] == run.id)
        if run.state not in ACTIVE or is_here or _is_elsewhere(run):
            return run
        return run.model_copy(update={"state": "stopped", "process": 0})


def _is_elsewhere(run: Run) -> bool:
    """Whether another server has a run, and lives."""
    return run.process != os.getpid() and lives_since(run.process, run.process_began)
