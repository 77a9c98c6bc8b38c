"""Files that survive a kill: write beside and rename, append and flush, locks, JSON lines."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from filelock import FileLock, Timeout

from vqa.errors import InputError, VQAError


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a new file beside `path`; it takes that name, whole and on disk, at the end.

    When the block raises, what was at `path` stays. Missing parent directories are made. Text is
    UTF-8 with line ends as written. A device or pipe is written directly, and so is what the
    process has open already (`/dev/stdout`); of a link, what it leads to is replaced. Raises
    InputError where nothing can be written at `path`.
    """
    path = Path(path)
    number = _open_already(path)
    if number is not None:
        with _open(os.dup(number), path, mode) as file:
            yield file
        return
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file() and not path.is_dir():
        with _open(path, path, mode) as file:
            yield file
        return
    if path.is_dir():
        raise InputError(f"{path} is a directory: name a file in it.")
    _make_parents(path)
    beside = _beside(path)
    try:
        with _open(beside, path, mode.replace("w", "x")) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new empty directory beside `path`; it takes that name, whole, at the end.

    When the block raises, nothing remains of it; what a killed process left is removed by the next
    call for the same `path`. Raises InputError where `path` is there already and holds something:
    nothing of the user's is ever replaced.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} is there already: name a new directory, or remove that one.")
    _make_parents(path)
    with _directory_beside(path) as beside:
        yield beside
        for file in beside.rglob("*"):
            _sync(file)
        _sync(beside)
        _take_name(beside, path)


@contextmanager
def replaced_files(path: str | os.PathLike[str], last: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty directory; its files then take their places in the directory `path`.

    Files of the same names are replaced, those named in `last` after all others. When the block
    raises (a full disk), `path` stays as it was.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    with _directory_beside(path / "files") as beside:
        yield beside
        files = sorted(beside.iterdir(), key=lambda file: (file.name in last, file.name))
        for file in files:
            _sync(file)
        for file in files:
            os.replace(file, path / file.name)
        _sync(path)


@contextmanager
def lock(path: str | os.PathLike[str], busy: str | None = None) -> Iterator[None]:
    """Hold `path` for this process and thread, through the file `.NAME.lock` beside.

    Waits for whoever holds it, or with `busy` raises InputError of that text. Not to be taken again
    by who holds it already.
    """
    path = Path(path)
    _make_parents(path)
    guard = FileLock(path.parent / f".{path.name}.lock")
    try:
        guard.acquire(timeout=-1 if busy is None else 0)
    except Timeout as error:
        raise InputError(str(busy)) from error
    except OSError as error:
        raise InputError(f"Cannot lock {path}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        guard.release()


def append_jsonl(file: IO[str], *rows: dict[str, Any]) -> None:
    """Write each row as one line to an open text file, and on to the disk before it returns."""
    file.write("".join(map(_line, rows)))
    file.flush()
    with suppress(OSError):  # a pipe or terminal cannot be synced
        os.fsync(file.fileno())


@contextmanager
def open_jsonl(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
    """Open `path` for `append_jsonl`; a last line that an earlier kill has torn is cut off."""
    path = Path(path)
    _make_parents(path)
    with _open(path, path, "ab") as raw:
        if raw.seekable() and path.is_file():
            data = path.read_bytes()
            tail = data[data.rfind(b"\n") + 1 :]
            if tail and _row(tail) is None:
                raw.truncate(len(data) - len(tail))
            elif tail:
                raw.write(b"\n")
    with _open(path, path, "a") as file:
        yield file


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, row). Empty lines are skipped.

    A last line without its line end that is no row was torn by a kill and is left out; any other
    line that is no JSON object raises InputError with file and line.
    """
    path = Path(path)
    with _open(path, path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            row = _row(line)
            if row is None and not line.endswith(b"\n"):
                return
            if row is None:
                raise InputError(f"{path}, line {number}: not a JSON object; correct or remove it.")
            yield number, row


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write all rows, one a line, atomically."""
    with atomic_write(path) as file:
        file.writelines(_line(row) for row in rows)


def _line(row: dict[str, Any]) -> str:
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: only an escape can hold it
        text = json.dumps(row, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise VQAError(f"A row cannot be written as JSON: {error}.") from error
    return text + "\n"


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _open_already(path: Path) -> int | None:
    """The number of the process's open file that a path like /dev/stdout or /dev/fd/3 leads to."""
    if not path.exists():  # links in a circle among them
        return None
    numbers = (Path("/dev/fd"), Path(f"/proc/{os.getpid()}/fd"))
    while path.parent.resolve() not in numbers:
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return int(path.name)


def _open(file: Path | int, named: Path, mode: str) -> IO[Any]:
    """Open `file`; an error speaks of `named`, the file the user knows."""
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        return open(file, mode, **text)  # type: ignore[call-overload, no-any-return]
    except OSError as error:
        verb = "read" if "r" in mode else "write"
        raise InputError(f"Cannot {verb} {named}: {error.strerror or error}.") from error


def _make_parents(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make {path.parent}: {error.strerror or error}.") from error


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"


@contextmanager
def _directory_beside(path: Path) -> Iterator[Path]:
    """Yield a new empty directory; what is in its place at the end, or after a kill, is removed."""
    _remove_abandoned(path)
    beside = _beside(path)
    alive = FileLock(f"{beside}.lock")  # tells others that this directory is still being written
    try:
        with alive:
            beside.mkdir()
            yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        Path(alive.lock_file).unlink(missing_ok=True)


def _take_name(beside: Path, path: Path) -> None:
    try:
        os.rename(beside, path)
    except OSError as error:
        raise VQAError(f"Cannot make {path}: {error.strerror or error}.") from error
    _sync(path.parent)


def _remove_abandoned(path: Path) -> None:
    for left in path.parent.iterdir():
        if left.name.startswith(f".{path.name}.") and left.suffix == ".tmp" and left.is_dir():
            guard = FileLock(f"{left}.lock")
            with suppress(Timeout, OSError), guard.acquire(timeout=0):
                shutil.rmtree(left, ignore_errors=True)
                Path(guard.lock_file).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Bring a file or a directory's entries to the disk, where the system can."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
