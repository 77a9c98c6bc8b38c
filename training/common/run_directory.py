"""The directory of a run, which may be deleted, emptied or moved while it is written to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback

from vqa.errors import LostFile
from vqa.models.runs import RUN, last_checkpoint


class RunDirectory:
    """The directory `output` as it is now. It has `run.json` as long as the run is in it.

    Whatever writes there creates missing directories, and would hide that this one is lost.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        # open, it remains this directory wherever it goes; Windows opens and moves none in use
        self._number = os.open(output, os.O_RDONLY) if os.stat in os.supports_dir_fd else None
        self._own = os.stat(output)

    def close(self) -> None:
        """Close the directory."""
        if self._number is not None:
            os.close(self._number)
            self._number = None

    def check(self) -> None:
        """Raise LostFile where the path leads elsewhere by now, or the run is no longer in it."""
        try:
            in_place = os.path.samestat(os.stat(self._output), self._own)
        except (FileNotFoundError, NotADirectoryError):
            in_place = False
        if not self._holds_run():
            raise LostFile(
                f"{self._output} was deleted or emptied while the training wrote there: "
                f"{self._remains()}"
            )
        if not in_place:
            raise LostFile(
                f"{self._output} was moved while the training wrote there: what was done so far is "
                "kept where it is now; move it back, and the same command goes on"
            )

    def _holds_run(self) -> bool:
        try:
            os.stat(self._output / RUN if self._number is None else RUN, dir_fd=self._number)
        except OSError:
            return False
        return True

    def _remains(self) -> str:
        checkpoint = last_checkpoint(self._output)
        if checkpoint is not None:
            return f"{checkpoint} is left, and the same command goes on from there"
        return (
            "no checkpoint, best weights or log of this run is kept; the same command begins again "
            "(what was read and encoded is kept)"
        )


@contextmanager
def open_run_directory(output: Path) -> Iterator[RunDirectory]:
    """Open the directory of a run; raise LostFile if it is lost, whatever error that has led to."""
    directory = RunDirectory(output)
    try:
        yield directory
        _check(directory)
    except Exception:
        _check(directory)
        raise
    finally:
        directory.close()


class RunDirectoryCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """End a training whose directory is lost, before anything more is written there."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Check before the step is logged, validated or saved."""
        _check(self._directory)

    on_log = on_save = on_evaluate = on_train_begin = on_step_end


def _check(directory: RunDirectory) -> None:
    if PartialState().is_main_process:  # it writes; the launcher ends the others with it
        directory.check()
