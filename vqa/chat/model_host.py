"""The model that answers everybody: loaded in the background, and exchanged for another."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread

from vqa.answering import Answerer
from vqa.chat.page_options import ModelChoice
from vqa.chat.worker import Worker
from vqa.errors import VQAError


class ModelHost:
    """Loads what is chosen with `build`, and answers with it until something else is chosen.

    `choice` is what will be loaded first, by whoever calls `load`.

    A model is dropped before the next is loaded, since both might not fit into memory. Where one
    cannot be loaded, `error` says why; nothing is answered until another choice.
    """

    def __init__(
        self, build: Callable[[ModelChoice], Answerer], choice: ModelChoice | None = None
    ) -> None:
        self._build = build
        self._lock = Lock()
        self._choosing = Lock()
        self._choice = choice or ModelChoice()
        self._worker: Worker | None = None
        self._error: VQAError | None = None
        self._generation = 0  # of choices: what an older one gives when it is loaded is dropped
        self._thread = Thread()

    @property
    def choice(self) -> ModelChoice:
        """Return what was chosen last."""
        return self._choice

    @property
    def error(self) -> VQAError | None:
        """Return why the choice could not be loaded."""
        return self._error

    @property
    def begun(self) -> bool:
        """Return whether anything was loaded, or begun to."""
        return self._generation > 0

    @property
    def loading(self) -> bool:
        """Return whether neither the model is there, nor a reason why it will not be."""
        return self._worker is None and self._error is None

    def load(self, choice: ModelChoice) -> None:
        """Begin to load what is chosen. Answers of the model before end where they are."""
        with self._choosing:  # whoever chooses next waits for a thread that has begun
            with self._lock:
                self._generation += 1
                generation, before, last = self._generation, self._worker, self._thread
                self._choice, self._worker, self._error = choice, None, None
                self._thread = Thread(
                    target=self._load, args=(choice, generation, last), name="vqa-load", daemon=True
                )
            if before is not None:
                before.close()
            del before
            self._thread.start()

    def worker(self) -> Worker:
        """Return the worker of the model. Raises VQAError where there is none, or none yet."""
        with self._lock:
            if self._worker is not None:
                return self._worker
            if self._error is not None:
                raise self._error
        raise VQAError("The model is still being loaded: ask again in a moment.")

    def _load(self, choice: ModelChoice, generation: int, last: Thread) -> None:
        if last.ident is not None:
            last.join()  # one at a time
        if generation != self._generation:
            return
        worker, failure = None, None
        try:
            worker = Worker(self._build(choice))
        except VQAError as error:
            failure = error
        except Exception as error:  # whatever a model raises is shown on the page
            what = " ".join(str(error).split()) or type(error).__name__
            failure = VQAError(f"{choice.name} failed to load: {what}")
        with self._lock:
            if generation == self._generation:
                self._worker, self._error = worker, failure
                return
        if worker is not None:
            worker.close()
