from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqa.errors import InputError, VQAError
from vqa.utils.files import (
    append_jsonl,
    atomic_directory,
    atomic_write,
    lock,
    open_jsonl,
    read_jsonl,
    replaced_files,
    write_jsonl,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_atomic_write_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    with atomic_write(path) as file:
        file.write("é\n")
        assert not path.exists()
    assert path.read_bytes() == "é\n".encode()
    with atomic_write(path, "wb") as file:
        file.write(b"second")
    assert path.read_bytes() == b"second"
    assert names(path.parent) == ["report.json"]


def test_atomic_write_keeps_the_old_file_when_the_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_atomic_write_honours_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "file") as file:
            file.write("x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_atomic_write_writes_to_a_pipe_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with atomic_write(pipe) as file:
        file.write("through")
    reader.join(5)
    assert read == [b"through"]
    assert pipe.is_fifo()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /dev")
def test_atomic_write_writes_to_a_redirected_stdout_in_its_place(tmp_path: Path) -> None:
    link = tmp_path / "stdout"  # as /dev/stdout, where a mistake costs nothing
    link.symlink_to("/dev/stdout")
    script = (
        "import sys; from vqa.utils.files import write_jsonl\n"
        "print('before', flush=True); write_jsonl(sys.argv[1], [{'a': 1}]); print('behind')"
    )
    out = tmp_path / "out"
    with out.open("w") as file:
        subprocess.run([sys.executable, "-c", script, str(link)], stdout=file, check=True)
    assert out.read_text() == 'before\n{"a": 1}\nbehind\n'
    assert link.is_symlink() and names(tmp_path) == ["out", "stdout"]


@pytest.mark.parametrize("target", ["target", "new/missing"])
def test_atomic_write_replaces_what_a_link_leads_to(tmp_path: Path, target: str) -> None:
    (tmp_path / "target").write_text("old")
    link = tmp_path / "link"
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write("new")
    assert link.is_symlink() and (tmp_path / target).read_text() == "new"


@pytest.mark.parametrize("writer", [atomic_write, atomic_directory, lock])
def test_a_parent_that_is_a_file_is_an_input_error(tmp_path: Path, writer: object) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"), writer(tmp_path / "file" / "x"):  # type: ignore[operator]
        pass


def test_writing_a_directory_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"), atomic_write(tmp_path):
        pass


def test_atomic_directory(tmp_path: Path) -> None:
    path = tmp_path / "models" / "one"
    with atomic_directory(path) as inside:
        (inside / "sub").mkdir()
        (inside / "sub" / "config.json").write_text("{}")
        assert not path.exists()
    assert (path / "sub" / "config.json").read_text() == "{}"
    assert names(path.parent) == ["one"]


def test_atomic_directory_leaves_nothing_when_the_block_raises(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "one") as inside:
        (inside / "half").write_text("x")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_atomic_directory_takes_an_empty_directory_and_never_a_full_one(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.mkdir()
    with atomic_directory(path) as inside:
        (inside / "mine").write_text("x")
    with pytest.raises(InputError, match="is there already"), atomic_directory(path):
        pass
    with pytest.raises(InputError), atomic_directory(path / "mine"):
        pass
    assert names(path) == ["mine"]


def test_atomic_directory_does_not_replace_what_came_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "one"
    with pytest.raises(VQAError, match="one"), atomic_directory(path):
        path.mkdir()
        (path / "theirs").write_text("x")
    assert names(path) == ["theirs"]
    assert names(tmp_path) == ["one"]


def start(code: str, *args: Path) -> subprocess.Popen[str]:
    """A process that runs `code` and says a line when it is where the test wants it."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from vqa.utils.files import atomic_directory
with atomic_directory(sys.argv[1]) as inside:
    (inside / "half").write_text("x")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_removed_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "one"
    process = start(WRITE_AND_WAIT, path)
    try:
        half = [name for name in names(tmp_path) if name.endswith(".tmp")]
        assert len(half) == 1
        with pytest.raises(ZeroDivisionError), atomic_directory(path):
            raise ZeroDivisionError
        assert half[0] in names(tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert half[0] in names(tmp_path)
    with atomic_directory(path) as inside:
        (inside / "whole").write_text("x")
    assert names(tmp_path) == ["one"]


def test_two_who_write_the_same_files_do_not_disturb_each_other(tmp_path: Path) -> None:
    with replaced_files(tmp_path) as slow:
        (slow / "a").write_text("slow")
        with replaced_files(tmp_path) as fast:
            (fast / "a").write_text("fast")
            (fast / "b").write_text("fast")
        (slow / "b").write_text("slow")
    assert names(tmp_path) == ["a", "b"]
    assert [(tmp_path / name).read_text() for name in "ab"] == ["slow", "slow"]


LOCK_AND_WAIT = """
import sys, time
from vqa.utils.files import lock
with lock(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_lock_holds_against_another_process_and_ends_with_it(tmp_path: Path) -> None:
    process = start(LOCK_AND_WAIT, tmp_path / "cache")
    got = threading.Event()

    def take() -> None:
        with lock(tmp_path / "cache"):
            got.set()

    thread = threading.Thread(target=take)
    try:
        thread.start()
        assert not got.wait(0.3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    thread.join(5)
    assert got.is_set()


def test_lock_holds_against_another_thread(tmp_path: Path) -> None:
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with lock(tmp_path / "cache"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(st.characters()), JSON, max_size=3), max_size=4))
def test_rows_come_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_jsonl(path, rows)
    assert list(read_jsonl(path)) == list(enumerate(rows, start=1))
    with open_jsonl(path) as file:
        for row in rows:
            append_jsonl(file, row)
        append_jsonl(file, *rows)
    assert [row for _, row in read_jsonl(path)] == rows * 3


def test_an_appended_row_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    with open_jsonl(path) as file:
        append_jsonl(file, {"id": 1})
        assert path.read_text() == '{"id": 1}\n'


def test_a_row_that_json_cannot_hold_writes_nothing(tmp_path: Path) -> None:
    with open_jsonl(tmp_path / "rows") as file:
        for row in ({"a": float("nan")}, {"a": object()}):
            with pytest.raises(VQAError, match="cannot be written"):
                append_jsonl(file, {"a": 1}, row)
    assert (tmp_path / "rows").read_text() == ""


@settings(deadline=None)
@given(st.integers(0, 60))
def test_a_kill_at_any_byte_loses_at_most_the_last_row(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "rows.jsonl"
    rows = [{"id": number, "text": "é{}\n"} for number in range(2)]
    write_jsonl(path, rows)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    read = [row for _, row in read_jsonl(path)]
    ends = [whole.index(b"\n") + 1, len(whole)]
    # A row that lacks only its line end is complete.
    assert read == rows[: sum(min(cut, len(whole)) >= end - 1 for end in ends)]
    with open_jsonl(path) as file:
        append_jsonl(file, {"id": "next"})
    assert [row for _, row in read_jsonl(path)] == [*read, {"id": "next"}]


@pytest.mark.parametrize("bad", [b"{", b"[1]", b"\xff", b"1", b"[" * 100_000])
def test_a_bad_line_in_the_middle_is_named(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n\n' + bad + b'\n{"id": 2}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl, line 3: not a JSON object"):
        list(read_jsonl(path))


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1}\r\n{"id": 2}\r\n')
    assert [row["id"] for _, row in read_jsonl(path)] == [1, 2]


def test_a_line_separator_in_a_text_is_no_line_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"text": "a\u2028b\x85c"}
    write_jsonl(path, [row])
    assert list(read_jsonl(path)) == [(1, row)]
    assert json.loads(path.read_text(encoding="utf-8")) == row


def test_reading_what_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read .*none"):
        list(read_jsonl(tmp_path / "none"))
    with pytest.raises(InputError, match="Cannot read"):
        list(read_jsonl(tmp_path))
