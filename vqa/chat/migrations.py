"""The steps that bring a history's database to the present schema, each once and whole.

`PRAGMA user_version` of the file says how many of `STEPS` are applied. A step is never changed once
it was released: what is to be different is a further step.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from vqa.errors import InputError

STEPS: tuple[tuple[str, ...], ...] = (
    (  # IF NOT EXISTS: versions that had no steps made the tables before they wrote a number
        """CREATE TABLE IF NOT EXISTS conversations (
            id VARCHAR NOT NULL, owner VARCHAR NOT NULL, title VARCHAR NOT NULL,
            system VARCHAR NOT NULL, head VARCHAR, changed DATETIME NOT NULL, PRIMARY KEY (id)
        )""",
        """CREATE TABLE IF NOT EXISTS turns (
            id VARCHAR NOT NULL, number INTEGER NOT NULL, conversation VARCHAR NOT NULL,
            parent VARCHAR, role VARCHAR NOT NULL, text VARCHAR NOT NULL, state VARCHAR NOT NULL,
            process INTEGER NOT NULL, model VARCHAR NOT NULL, about JSON NOT NULL,
            notice VARCHAR NOT NULL, rating INTEGER NOT NULL, correction VARCHAR NOT NULL,
            created DATETIME NOT NULL, judged DATETIME, PRIMARY KEY (id),
            FOREIGN KEY(conversation) REFERENCES conversations (id) ON DELETE CASCADE,
            FOREIGN KEY(parent) REFERENCES turns (id) ON DELETE CASCADE
        )""",
        """CREATE TABLE IF NOT EXISTS pictures (
            id INTEGER NOT NULL, turn VARCHAR NOT NULL, position INTEGER NOT NULL,
            name VARCHAR NOT NULL, file VARCHAR NOT NULL, PRIMARY KEY (id), UNIQUE (turn, position),
            FOREIGN KEY(turn) REFERENCES turns (id) ON DELETE CASCADE
        )""",
        "CREATE INDEX IF NOT EXISTS ix_conversations_owner ON conversations (owner)",
        "CREATE INDEX IF NOT EXISTS ix_turns_parent ON turns (parent)",
        "CREATE INDEX IF NOT EXISTS ix_turns_conversation ON turns (conversation)",
        "CREATE INDEX IF NOT EXISTS ix_pictures_file ON pictures (file)",
        "CREATE INDEX IF NOT EXISTS ix_pictures_turn ON pictures (turn)",
    ),
    ("ALTER TABLE conversations ADD COLUMN pinned BOOLEAN NOT NULL DEFAULT 0",),
    ("ALTER TABLE turns ADD COLUMN better_than VARCHAR",),
    ("CREATE INDEX ix_turns_running ON turns (conversation) WHERE state = 'running'",),
    (
        "ALTER TABLE pictures ADD COLUMN box JSON",
        "ALTER TABLE pictures ADD COLUMN box_alone BOOLEAN NOT NULL DEFAULT 0",
    ),
)


def migrate(file: Path, patience: float) -> None:
    """Apply the steps that the database in `file` lacks; one that is not there is made.

    All lacking steps and their number are one transaction: a kill or an error leaves the schema
    before or after them. First a history is copied to `history.sqlite.before-N` beside it, for the
    N steps that it will have. Of several processes one migrates, and the others wait up to
    `patience` seconds. Where no step is lacking nothing is written, and nobody waited for.

    Raises InputError for a history of a later schema, and sqlite3.Error or OSError for a full disk
    and for a file that is locked or damaged.
    """
    with closing(sqlite3.connect(file, timeout=patience, isolation_level=None)) as connection:
        if _version(connection, file) == len(STEPS):
            return
        write_ahead(connection, patience)
        connection.execute("BEGIN IMMEDIATE")
        try:
            applied = _version(connection, file)  # another process may have come first
            if 0 < applied < len(STEPS):
                _back_up(file, file.with_name(f"{file.name}.before-{len(STEPS)}"))
            for step in STEPS[applied:]:
                for statement in step:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(STEPS)}")
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has rolled it back already
                connection.execute("ROLLBACK")
            raise


def write_ahead(connection: sqlite3.Connection, patience: float) -> None:
    """Let readers and a writer work at once (SQLite's WAL), waiting up to `patience` seconds.

    SQLite itself does not wait here: of two connections that change the mode, one fails at once.
    """
    end = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _version(connection: sqlite3.Connection, file: Path) -> int:
    """Read how many steps are applied. Raises InputError where they are more than are known."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if not 0 <= version <= len(STEPS):
        raise InputError(
            f"{file} was written by another version of vqa, a newer one: update vqa, or name "
            "another directory."
        )
    return version


def _back_up(file: Path, copy: Path) -> None:
    """Copy a database that is locked for writing by another connection; whole, or not at all."""
    beside = copy.with_name(f"{copy.name}.tmp")
    beside.unlink(missing_ok=True)  # of a process that was killed: nobody else has the lock
    beside.touch(file.stat().st_mode & 0o777)  # no more people may read it
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(beside)) as target:
            target.execute("PRAGMA journal_mode = OFF")  # half a copy is thrown away
            source.backup(target)
        os.replace(beside, copy)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
