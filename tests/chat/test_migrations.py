"""Histories of earlier versions: opened with all that is in them, whatever happens meanwhile."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import create_engine

import vqa.chat.database
from tests.chat.test_history import ANNA, BEN, talk, texts
from tests.disk import full_beyond
from vqa.chat import migrations
from vqa.chat.history import History
from vqa.chat.tables import Base
from vqa.errors import DiskError, InputError, VQAError
from vqa.utils import fingerprint

# written by the first version that has a number: branches, pictures, ratings, corrections, a note,
# a failed answer, and one whose process was killed; `content.json` is what that version made of it
OLD = Path(__file__).parent / "history_of_schema_1"
CONTENT = json.loads((OLD / "content.json").read_text(encoding="utf-8"))
NEWEST = len(migrations.STEPS)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A directory with that history."""
    return copy_of_old(tmp_path / "chats")


def copy_of_old(directory: Path) -> Path:
    shutil.copytree(OLD, directory)
    (directory / "content.json").unlink()
    return directory


def content(directory: Path) -> dict[str, Any]:
    """All that two owners can see of a history."""
    history = History(directory)
    owners = {}
    for owner in (ANNA, BEN):
        conversations = []
        for summary in history.conversations(owner):
            turns = []
            for turn_id in history.turn_ids(owner, summary.id):
                turn = history.branch(owner, summary.id, turn_id)[-1]
                files = [[p.name, fingerprint.of_bytes(p.path.read_bytes())] for p in turn.pictures]
                values = asdict(turn) | {"pictures": files}
                assert values.pop("better_than") is None  # nobody could say so
                turns.append(values)
            conversations.append(
                {
                    "id": summary.id,
                    "title": summary.title,
                    "changed": summary.changed,
                    "system": history.system(owner, summary.id),
                    "shown": [turn.id for turn in history.branch(owner, summary.id)],
                    "turns": turns,
                }
            )
        judged = [answer.id for _, answer in history.judged_answers(owner)]
        owners[owner] = {"conversations": conversations, "judged": judged}
    history.close()
    as_json: dict[str, Any] = json.loads(json.dumps(owners, default=str))
    return as_json


def schema(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Columns (name, type, NOT NULL, key), indexes and foreign keys of each table."""
    with closing(sqlite3.connect(file)) as database:
        tables = {}
        for table in ("conversations", "turns", "pictures"):
            columns = [(c[1], c[2], c[3], c[5]) for c in _info(database, "table_info", table)]
            indexes = sorted((i[1], i[2]) for i in _info(database, "index_list", table))
            keys = sorted(k[2:7] for k in _info(database, "foreign_key_list", table))
            tables[table] = [*columns, *indexes, *keys]
        return tables


def _info(database: sqlite3.Connection, pragma: str, table: str) -> list[tuple[Any, ...]]:
    return database.execute(f"PRAGMA {pragma}({table})").fetchall()


def version(file: Path) -> int:
    with closing(sqlite3.connect(file)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def test_an_old_history_opens_with_all_that_is_in_it(old: Path) -> None:
    assert content(old) == CONTENT
    assert version(old / "history.sqlite") == NEWEST
    assert content(old) == CONTENT  # and again
    history = History(old)
    newest, oldest = (summary.id for summary in history.conversations(ANNA))
    history.pin(ANNA, oldest, True)
    assert [one.id for one in history.conversations(ANNA)] == [oldest, newest]
    key, _ = talk(history, "New?", "Yes.")
    assert texts(history, key) == ["New?", "Yes."]
    history.close()


def test_the_copy_from_before_can_be_put_back(old: Path) -> None:
    History(old).close()
    before = old / f"history.sqlite.before-{NEWEST}"
    assert version(before) == 1
    assert sorted(path.name for path in old.iterdir()) == [
        "history.sqlite", before.name, "pictures",
    ]  # fmt: skip
    before.replace(old / "history.sqlite")
    assert content(old) == CONTENT


def test_a_new_history_has_the_schema_of_a_migrated_one(old: Path, tmp_path: Path) -> None:
    History(old).close()
    History(tmp_path / "new").close()
    assert [path.name for path in (tmp_path / "new").iterdir() if "before" in path.name] == []
    mapped = tmp_path / "mapped.sqlite"
    engine = create_engine(f"sqlite:///{mapped}")
    Base.metadata.create_all(engine)
    engine.dispose()
    expected = schema(mapped)
    assert schema(tmp_path / "new" / "history.sqlite") == expected
    assert schema(old / "history.sqlite") == expected


def test_a_directory_of_any_name_and_a_file_that_nobody_else_may_read(tmp_path: Path) -> None:
    directory = copy_of_old(tmp_path / "my chats? 100% #1 &c=猫")
    (directory / "history.sqlite").chmod(0o600)
    assert content(directory) == CONTENT
    assert {path.name: oct(path.stat().st_mode)[-3:] for path in directory.glob("history*")} == {
        "history.sqlite": "600", f"history.sqlite.before-{NEWEST}": "600",
    }  # fmt: skip


def test_a_server_of_the_version_before_goes_on_writing(old: Path) -> None:
    with closing(sqlite3.connect(old / "history.sqlite")) as server:
        server.execute("SELECT * FROM conversations").fetchall()
        history = History(old)
        with server:
            server.execute(
                "INSERT INTO conversations (id, owner, title, system, head, changed) "
                "VALUES ('key', 'anna', 'Mine', '', NULL, '2024-05-02 12:00:00.000000')"
            )
        history.add_question(ANNA, "key", None, "Mine?")
        assert next(one.title for one in history.conversations(ANNA)) == "Mine"
        history.close()


_KILLED = """
import os, signal, sqlite3, sys
from functools import partial
from pathlib import Path
from vqa.chat import migrations

calls = 0

class Killing(sqlite3.Connection):
    def execute(self, *arguments):
        global calls
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        return super().execute(*arguments)

connect = sqlite3.connect
migrations.sqlite3.connect = partial(connect, factory=Killing)
migrations.migrate(Path(sys.argv[1]), 5)
"""


def test_killed_before_any_statement_it_is_the_old_or_the_new(tmp_path: Path) -> None:
    versions = []
    for moment in range(30):
        directory = copy_of_old(tmp_path / str(moment))
        file = directory / "history.sqlite"
        arguments = [sys.executable, "-c", _KILLED, str(file), str(moment)]
        ended = subprocess.run(arguments, capture_output=True, text=True)
        versions.append(version(file))
        names = [column[0] for column in schema(file)["conversations"]]
        assert ("pinned" in names) == (versions[-1] == NEWEST), moment
        assert content(directory) == CONTENT, moment
        files = {path.name for path in directory.iterdir()}
        assert files == {"history.sqlite", f"history.sqlite.before-{NEWEST}", "pictures"}
        if ended.returncode == 0:
            break
        assert ended.returncode == -9, ended.stderr
    assert len(versions) > 5 and versions == [*[1] * (len(versions) - 1), NEWEST]


_OPENED = """
import sys
from pathlib import Path
from vqa.chat.history import History

print(flush=True)
sys.stdin.readline()
history = History(Path(sys.argv[1]))
print(len(history.conversations("anna")))
"""


@pytest.mark.parametrize("begun", [True, False])
def test_several_processes_open_it_at_once(tmp_path: Path, begun: bool) -> None:
    directory = copy_of_old(tmp_path / "chats") if begun else tmp_path
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _OPENED, str(directory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        printed, errors = process.communicate()
        assert printed.strip() == ("2" if begun else "0"), errors
    if begun:
        assert content(directory) == CONTENT
        assert version(directory / f"history.sqlite.before-{NEWEST}") == 1


@pytest.mark.slow
def test_a_new_history_opened_by_many_at_one_moment(tmp_path: Path) -> None:
    def opened(directory: Path, barrier: Barrier) -> list[Any]:
        barrier.wait()
        history = History(directory)
        try:
            return history.conversations(ANNA)
        finally:
            history.close()

    with ThreadPoolExecutor(6) as threads:
        for number in range(100):
            barrier = Barrier(6)
            each = [threads.submit(opened, tmp_path / str(number), barrier) for _ in range(6)]
            assert [one.result() for one in each] == [[]] * 6


@pytest.mark.parametrize("size", [0, 3_000, 20_000, 40_000, 49_151])
def test_a_full_disk_leaves_the_old_file(old: Path, size: int) -> None:
    file = old / "history.sqlite"
    before = file.read_bytes()
    with full_beyond(size), pytest.raises(DiskError, match=r"history\.sqlite: .*make room"):
        History(old)
    assert file.read_bytes() == before
    assert not list(old.glob("*before*"))
    assert content(old) == CONTENT


def test_a_disk_that_takes_the_copy_only(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = (
        "INSERT INTO pictures (turn, position, name, file) "
        "SELECT id, 9, hex(zeroblob(100000)), 'file' FROM turns"
    )
    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, (big,)))
    with full_beyond(60_000), pytest.raises(DiskError, match="make room"):
        History(old)
    assert version(old / "history.sqlite") == 1
    assert version(old / f"history.sqlite.before-{NEWEST + 1}") == 1
    monkeypatch.undo()
    assert content(old) == CONTENT


def test_a_step_that_fails_leaves_the_old_file(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (
        *migrations.STEPS,
        ("ALTER TABLE turns ADD COLUMN extra", "ALTER TABLE turns nonsense"),
    )
    monkeypatch.setattr(migrations, "STEPS", steps)
    with pytest.raises(VQAError, match=r"history\.sqlite") as error:
        History(old)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert version(old / "history.sqlite") == 1
    assert content(old) == CONTENT


def test_while_another_program_writes(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vqa.chat.database, "_PATIENCE", 0.2)
    with closing(sqlite3.connect(old / "history.sqlite")) as other:
        other.execute("begin immediate")
        with pytest.raises(VQAError, match="another program has held the history locked"):
            History(old)
        other.rollback()
    assert content(old) == CONTENT


@pytest.fixture(params=[True, False])
def newer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    directory = copy_of_old(tmp_path / "chats") if request.param else tmp_path
    History(directory).close()
    with closing(sqlite3.connect(directory / "history.sqlite")) as database:
        database.execute(f"PRAGMA user_version = {NEWEST + 1}")
    yield directory


def test_a_newer_history_is_refused_and_not_touched(newer: Path) -> None:
    before = (newer / "history.sqlite").read_bytes()
    with pytest.raises(InputError, match="another version of vqa, a newer one: update") as error:
        History(newer)
    assert "\n" not in str(error.value) and error.value.exit_code == 2
    assert (newer / "history.sqlite").read_bytes() == before
