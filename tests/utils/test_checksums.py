"""Cached directories: what a crash, a full disk or a failing one leaves is reported and mended."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vqa.errors import VQAError
from vqa.utils import checksums
from vqa.utils.checksums import RECORD, adopt_whole, ensure_directory, find_damage

_SIZE = 3_000_001  # more than is always read whole, and no multiple of anything


def _make(directory: Path) -> None:
    (directory / "below").mkdir()
    (directory / "large").write_bytes(random.Random(1).randbytes(_SIZE))
    (directory / "below" / "small.json").write_text('{"a": 1}')


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """A directory with checksums."""
    return ensure_directory(tmp_path / "cache" / "one", _make)


def _content(directory: Path) -> dict[str, bytes]:
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def _overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)  # to open it would wait for ever


def test_made_once_and_recorded(cached: Path) -> None:
    record = json.loads((cached / RECORD).read_text())
    assert {name: entry["size"] for name, entry in record.items()} == {
        "large": _SIZE,
        "below/small.json": 8,
    }

    def again(directory: Path) -> None:
        raise AssertionError("it is made again")

    assert ensure_directory(cached, again, depth="all") == cached


@pytest.mark.parametrize("start", [0, 1, 100_003, 2_000_000, _SIZE - 512])
@pytest.mark.parametrize("what", [bytes(512), bytes(range(256)) * 2])
def test_a_sample_finds_every_block_of_512_wrong_bytes(
    cached: Path, start: int, what: bytes
) -> None:
    _overwrite(cached / "large", start, what)
    assert find_damage(cached, "sizes") is None
    assert find_damage(cached, "sample") == f"{cached}/large is damaged (its content has changed)"


def test_reading_all_finds_a_flipped_bit(cached: Path) -> None:
    before = (cached / "large").read_bytes()
    _overwrite(cached / "large", 1_000_300, bytes([before[1_000_300] ^ 1]))
    assert find_damage(cached, "sample") is None  # as the docstring says
    assert "content" in str(find_damage(cached, "all"))


@pytest.mark.parametrize("last", [_SIZE - 1, _SIZE - 2, _SIZE - 9])
def test_ends_are_in_the_sample(cached: Path, last: int) -> None:
    byte = (cached / "large").read_bytes()[last]
    _overwrite(cached / "large", last, bytes([byte ^ 1]))
    damage = find_damage(cached, "sample")
    assert (damage is not None) == (last == _SIZE - 1)  # the rest that is no word of 8 bytes


_DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "cut short": ("large", lambda path: os.truncate(path, 1_000_000)),
    "empty": ("large", lambda path: os.truncate(path, 0)),
    "longer": ("large", lambda path: os.truncate(path, _SIZE + 1)),
    "gone": ("large", Path.unlink),
    "a directory": ("large", _directory),
    "a pipe": ("large", _pipe),
    "small zeros": ("below/small.json", lambda path: path.write_bytes(bytes(8))),
    "folder gone": ("below", shutil.rmtree),
}


@pytest.mark.parametrize("name", _DAMAGES)
def test_damage_is_told_and_mended(
    cached: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _content(cached)
    file, damage = _DAMAGES[name]
    damage(cached / file)

    with pytest.raises(VQAError, match=f"{cached}/{file}.* is damaged .*: do this"):
        ensure_directory(cached, _make, remedy="do this")
    assert ensure_directory(cached, _make) == cached

    assert _content(cached) == before
    message, after = capsys.readouterr().err.splitlines()
    assert message.startswith(f"vqa: {cached}/{file}") and message.endswith("it is made again")
    assert after == f"vqa: {cached} is whole again"
    assert {path.name for path in cached.parent.iterdir()} == {"one", ".one.lock"}


@pytest.mark.parametrize("place", ["file", "empty", "link to nowhere"])
def test_something_else_in_its_place_is_replaced(tmp_path: Path, place: str) -> None:
    target = tmp_path / "one"
    if place == "file":
        target.write_text("what?")
    elif place == "empty":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(VQAError, match="do this"):
        ensure_directory(target, _make, adopt=adopt_whole("large"), remedy="do this")
    ensure_directory(target, _make, adopt=adopt_whole("large"))
    assert find_damage(target, "all") is None and (target / "large").is_file()
    assert not target.is_symlink() and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"large": 1}', '{"large": {"size": "x"}}', "{}"])
def test_damaged_record_is_as_none(cached: Path, text: str) -> None:
    before = _content(cached)
    (cached / RECORD).write_text(text)
    with pytest.raises(VQAError, match="has no checksums: do this"):
        ensure_directory(cached, _make, remedy="do this")
    ensure_directory(cached, lambda _: pytest.fail("made again"), adopt=adopt_whole("large"))
    assert _content(cached) == before


def test_directory_of_an_earlier_version_is_adopted_once(tmp_path: Path) -> None:
    target = tmp_path / "old"
    target.mkdir()
    _make(target)
    adopted: list[Path] = []

    def adopt(directory: Path) -> str | None:
        adopted.append(directory)
        return adopt_whole("large")(directory)

    for _ in range(2):
        ensure_directory(target, lambda _: pytest.fail("made again"), adopt=adopt)
    assert adopted == [target]
    assert find_damage(target, "all") is None


@pytest.mark.parametrize("place", [0, 4096 * 300])
def test_zeros_in_a_directory_of_an_earlier_version_are_told(tmp_path: Path, place: int) -> None:
    target = tmp_path / "old"
    target.mkdir()
    _make(target)
    _overwrite(target / "large", place, bytes(4096))
    with pytest.raises(VQAError, match=f"large is damaged .zeros at byte {place:,}.: do this"):
        ensure_directory(target, _make, adopt=adopt_whole("large"), remedy="do this")
    ensure_directory(target, _make, adopt=adopt_whole("large"))
    assert (target / "large").read_bytes() == random.Random(1).randbytes(_SIZE)


def test_what_cannot_be_made_again_stays_damaged(cached: Path) -> None:
    os.truncate(cached / "large", 1)

    def fail(directory: Path) -> None:
        (directory / "half").write_text("made")
        raise VQAError("no network")

    for _ in range(2):
        with pytest.raises(VQAError, match="no network"):
            ensure_directory(cached, fail)
        assert {path.name for path in cached.parent.iterdir()} == {"one", ".one.lock"}
    with pytest.raises(VQAError, match="1 bytes in place of"):
        ensure_directory(cached, _make, remedy="do this")


def _slowly(directory: Path) -> None:
    with (directory.parent / "made").open("a") as file:
        file.write("x")
    _make(directory)
    time.sleep(0.3)


def test_several_processes_mend_it_once(cached: Path) -> None:
    _overwrite(cached / "large", 5000, bytes(5000))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=ensure_directory, args=(cached, _slowly)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (cached.parent / "made").read_text() == "x"
    assert find_damage(cached, "all") is None


def test_killed_while_it_is_mended(cached: Path) -> None:
    before = _content(cached)
    _overwrite(cached / "large", 5000, bytes(5000))
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        process = context.Process(target=ensure_directory, args=(cached, _slowly))
        process.start()
        while not any(cached.parent.glob(".one.*.tmp/large")):
            time.sleep(0.01)
        process.kill()
        process.join()
        assert checksums.find_damage(cached, "sample") is not None  # or it would be silent
    assert _content(ensure_directory(cached, _make)) == before
    left = {path.name for path in cached.parent.iterdir()}
    assert left == {"one", ".one.lock", "made"}


def _mend_as_nobody(cached: Path, out: Path) -> None:
    os.setuid(65534)  # root may write everywhere
    try:
        ensure_directory(cached, _make)
    except VQAError as error:
        out.write_text(str(error))


@pytest.mark.skipif(os.geteuid() != 0, reason="changes to another user")
@pytest.mark.parametrize("whole", [True, False])
def test_cache_of_another_user(cached: Path, whole: bool, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    out = tmp_path / "out"
    out.touch()
    out.chmod(0o666)
    if not whole:
        os.truncate(cached / "large", 7)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_mend_as_nobody, args=(cached, out))
    process.start()
    process.join()
    assert process.exitcode == 0
    message = out.read_text()
    if whole:
        assert message == ""
    else:
        assert f"{cached}/large is damaged (7 bytes in place of 3,000,001)" in message
        assert "Permission denied" in message and "\n" not in message
