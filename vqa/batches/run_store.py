"""Runs on disk: a folder for each, with its data, its predictions, and its owner."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vqa.chat.turn import NotFoundError
from vqa.errors import InputError
from vqa.utils.files import atomic_write

State = Literal["waiting", "running", "done", "stopped", "failed"]
ACTIVE = ("waiting", "running")
_KEY = re.compile(r"[A-Za-z0-9_-]{22}")
_ABOUT = "run.json"
_ABANDONED = 24 * 3600  # seconds; nobody is still uploading into a folder of that age


class BadLine(BaseModel):
    """A row of the data that cannot be asked."""

    model_config = ConfigDict(frozen=True)
    line: int
    reason: str


class Run(BaseModel):
    """A file of questions and its state. Paths are relative to its folder, or absolute."""

    model_config = ConfigDict(frozen=True)
    id: str
    owner: str
    name: str  # of the data, as its owner calls it
    data: str
    images: str
    max_new_tokens: int
    rows: int  # that can be asked
    with_answers: int  # of these, those that can be scored
    bad: tuple[BadLine, ...] = ()  # the first of them
    bad_count: int = 0
    repeated_ids: int = 0  # rows whose id an earlier row has
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    state: State = "waiting"
    process: int = 0  # that answers it
    process_began: float = 0.0  # its number may be given to a later one
    model: str = ""  # the name of what has answered, and what its answers depend on
    identity: str = ""
    done: int = 0  # rows, errors among them
    errors: int = 0
    reason: str = ""  # why it failed or stopped by itself


class RunStore:
    """The folders of all runs. What belongs to an owner is given to this owner only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def new(self) -> Iterator[tuple[str, Path]]:
        """Yield a new key and its empty folder, of which nothing remains if the block raises."""
        key = secrets.token_urlsafe(16)
        folder = self.directory / key
        try:
            folder.mkdir(parents=True)
            yield key, folder
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(f"The run cannot be kept: {error.strerror or error}.") from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def clean(self) -> None:
        """Remove what a kill has left of runs that never began, or were being deleted."""
        for folder in self.directory.glob("*"):
            abandoned = _KEY.fullmatch(folder.name) and not (folder / _ABOUT).exists()
            if abandoned and time.time() - folder.stat().st_mtime > _ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)

    def save(self, run: Run) -> None:
        """Write the state of a run. One that was deleted meanwhile stays deleted."""
        folder = self.folder(run)
        if folder.is_dir():
            with atomic_write(folder / _ABOUT) as file:
                file.write(run.model_dump_json(indent=1))

    def get(self, owner: str, key: str) -> Run:
        """Read a run of this owner. Raises NotFoundError."""
        run = self._read(key)
        if run is None or run.owner != owner:
            raise NotFoundError("This run is not here any more.")
        return run

    def all(self, owner: str | None = None) -> list[Run]:
        """List the runs of an owner, or of all, the latest first."""
        names = [path.name for path in self.directory.glob("*") if path.is_dir()]
        runs = (run for name in names if (run := self._read(name)) is not None)
        selected = [run for run in runs if owner is None or run.owner == owner]
        return sorted(selected, key=lambda run: run.created, reverse=True)

    def delete(self, run: Run) -> None:
        """Remove the folder of a run."""
        (self.folder(run) / _ABOUT).unlink(missing_ok=True)  # gone at once, whatever comes
        shutil.rmtree(self.folder(run), ignore_errors=True)

    def folder(self, run: Run) -> Path:
        """Return the folder of a run."""
        return self.directory / run.id

    def data(self, run: Run) -> Path:
        """Return the file, or folder, of its rows."""
        return self.folder(run) / run.data

    def images(self, run: Run) -> Path:
        """Return the root of its pictures."""
        return self.folder(run) / run.images

    def inside(self, run: Run) -> Path:
        """Return the folder for pictures that stand in the data file itself."""
        return self.folder(run) / "inside"

    def predictions(self, run: Run) -> Path:
        """Return the file that `vqa.evaluation.predicting` writes."""
        return self.folder(run) / "predictions.jsonl"

    def _read(self, key: str) -> Run | None:
        if not _KEY.fullmatch(key):
            return None
        try:
            return Run.model_validate_json((self.directory / key / _ABOUT).read_bytes())
        except (OSError, ValidationError):
            return None
