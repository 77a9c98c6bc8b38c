"""The SQLite file of a history: opening, transactions, and its errors in one line."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import URL, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from vqa.chat.migrations import migrate, write_ahead
from vqa.errors import DiskError, InputError, VQAError
from vqa.utils.disk import disk_failure

_PATIENCE = 30  # seconds to wait for another process that writes


class Database:
    """A history's database in `file`. Any thread, and several processes, may use one.

    It is made, or brought to the present schema, where needed. Raises InputError for a file that is
    no history, and VQAError, in one line, where the disk, another program or damage prevents a use.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._write_lock = Lock()  # SQLite lets those who wait try again, some of them never
        try:
            migrate(file, _PATIENCE)
        except (sqlite3.Error, OSError) as error:
            raise _failure(file, error) from error
        url = URL.create("sqlite", database=str(file))  # of any characters
        self._engine = create_engine(url, connect_args={"timeout": _PATIENCE})
        event.listen(self._engine, "connect", _connected)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session whose changes, if any, are written together, or not at all."""
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except (
            DatabaseError,
            OSError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            raise _failure(self._file, error) from error

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Yield such a session to one thread at a time."""
        with self._write_lock, self.reading() as session:
            yield session

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


def _failure(file: Path, error: Exception) -> VQAError:
    """Make the error that says what one of the database, or of a value in it, means to the user."""
    cause = getattr(error, "orig", None) or error
    why = getattr(cause, "strerror", None) or str(cause).split("\n")[0] or type(cause).__name__
    disk = disk_failure(cause)
    if disk is not None:
        return DiskError(
            f"Cannot write {file}: {disk}; what was kept before stays: make room and try again"
        )
    if "locked" in why and isinstance(cause, sqlite3.OperationalError):
        return VQAError(
            f"{file}: another program has held the history locked for {_PATIENCE} seconds: what "
            "was kept before stays; end that program, or try again later"
        )
    if isinstance(cause, sqlite3.OperationalError | OSError):
        named = getattr(cause, "filename", None) or file
        return VQAError(f"{named}: the history cannot be used: {why}")
    return InputError(
        f"{file} is not a readable history, or damaged ({why}): move it away, and a new one is "
        "begun"
    )


def _connected(connection: Any, _record: Any) -> None:
    write_ahead(connection, _PATIENCE)
    for setting in ("synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}").close()
