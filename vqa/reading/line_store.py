"""Lines that were read, on disk: a picture that any process has read costs nothing again."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vqa.reading.text_lines import TextLine

_PAGE_BYTES = 4096
_WAIT = 5.0  # seconds for another process that writes


class LineStore:
    """A file of lines by the fingerprints of pictures, of at most `max_bytes`.

    Where it is full, the quarter that was read first goes. The file is this user's alone. What is
    wrong with it costs reading again, and nothing else: a damaged file is made anew.
    """

    def __init__(self, path: Path, max_bytes: int = 256 << 20) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None

    def get(self, key: str) -> tuple[TextLine, ...] | None:
        """Return the lines of a picture; None where they are not stored."""
        try:
            row = (
                self._open().execute("SELECT lines FROM pictures WHERE key = ?", (key,)).fetchone()
            )
            return None if row is None else _lines(row[0])
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._fail(error)
            return None

    def put(self, key: str, lines: Sequence[TextLine]) -> None:
        """Store the lines of a picture."""
        values = json.dumps(
            [[line.text, line.confidence, line.corners] for line in lines], ensure_ascii=False
        )
        store = "INSERT OR REPLACE INTO pictures (key, lines) VALUES (?, ?)"
        with suppress(sqlite3.Error, OSError):
            try:
                self._open().execute(store, (key, values))
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    self._fail(error)
                    return
                rows = "SELECT rowid FROM pictures ORDER BY rowid LIMIT"
                quarter = "(SELECT 1 + count(*) / 4 FROM pictures)"
                self._open().execute(f"DELETE FROM pictures WHERE rowid IN ({rows} {quarter})")
                self._open().execute(store, (key, values))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(
                self._path, _WAIT, isolation_level=None, check_same_thread=False
            )
            connection.execute(f"PRAGMA max_page_count = {self._max_bytes // _PAGE_BYTES}")
            connection.execute("PRAGMA synchronous = OFF")  # after a power failure it is read anew
            connection.execute(
                "CREATE TABLE IF NOT EXISTS pictures (key TEXT PRIMARY KEY, lines TEXT)"
            )
            self._connection = connection
        return self._connection

    def _fail(self, error: Exception) -> None:
        """Remove a file that is no such store."""
        if isinstance(error, sqlite3.OperationalError | OSError):  # locked, or not to be written
            return
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        with suppress(OSError):
            self._path.unlink()


def _lines(text: str) -> tuple[TextLine, ...]:
    return tuple(
        TextLine(str(words), float(confidence), tuple((float(x), float(y)) for x, y in corners))
        for words, confidence, corners in json.loads(text)
    )
