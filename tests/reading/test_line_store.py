"""Lines that were read, on disk: for every process, bounded, and never a failure."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from tests.reading.test_reader import SIGN, line
from vqa.loading import text_reader
from vqa.reading import LineStore, TextReader


def test_lines_come_back_in_another_process(tmp_path: Path) -> None:
    lines = (line('Say "no" to 日本', 10.5), line("", 40))
    path = tmp_path / "new" / "text.sqlite"
    LineStore(path).put("a", lines)
    LineStore(path).put("nothing", ())
    again = LineStore(path)
    assert again.get("a") == lines and again.get("nothing") == () and again.get("b") is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_store_loses_what_was_read_first(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    store = LineStore(path, max_bytes=200_000)
    page = tuple(line(f"line {n} of a page", 12 * n) for n in range(40))
    for number in range(200):
        store.put(str(number), page)
    assert path.stat().st_size <= 200_000
    assert store.get("199") == page and store.get("0") is None
    assert sum(store.get(str(n)) is not None for n in range(200)) > 10


@pytest.mark.parametrize("content", [b"no database at all, but long enough" * 99, b"\0" * 4096])
def test_a_damaged_store_is_made_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.sqlite"
    path.write_bytes(content)
    store = LineStore(path)
    assert store.get("a") is None
    store.put("a", (line("new", 1),))
    store.put("a", (line("new", 1),))
    assert LineStore(path).get("a") == (line("new", 1),)


def test_damage_inside_and_rows_of_another_kind_cost_reading_again(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    store = LineStore(path)
    for number in range(300):
        store.put(str(number), (line("words " * 20, number),))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    damaged = LineStore(path)
    assert {damaged.get(str(n)) for n in range(300)} <= {
        None,
        *map(store.get, map(str, range(300))),
    }
    damaged.put("a", ())
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT OR REPLACE INTO pictures VALUES ('b', '[[1]]')")
    assert LineStore(path).get("b") is None


def test_where_nothing_can_be_written_it_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = LineStore(tmp_path / "file" / "text.sqlite")
    store.put("a", ())
    assert store.get("a") is None


def test_readers_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.sqlite"
    (first,) = TextReader(store=LineStore(path)).read(SIGN)
    monkeypatch.setattr(TextReader, "_read", lambda *given: pytest.fail("it is read again"))
    assert TextReader(store=LineStore(path)).read(SIGN) == (first,)
    # in auto less may be read
    monkeypatch.setattr(TextReader, "_read", lambda *given: ())
    assert TextReader("auto", store=LineStore(path)).read(SIGN) == ()


def test_commands_store_what_they_read_and_servers_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path))
    monkeypatch.setattr(TextReader, "_read", lambda *given: ())
    for stored in (False, True):
        reader = text_reader("always", stored)
        assert reader is not None and reader.read(SIGN) == ()
        assert (tmp_path / "text.sqlite").exists() == stored
