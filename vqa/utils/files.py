"""Files that survive a kill: write beside and rename, append and flush, locks, JSON lines."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from filelock import FileLock, Timeout

from vqa.errors import InputError, LostFile, VQAError
from vqa.utils.cache import unwritable_advice
from vqa.utils.disk import check_in_place, disk_failure, writing


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
        with writing(path), _open(os.dup(number), path, mode) as file:
            yield file
        return
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file() and not path.is_dir():
        with writing(path), _open(path, path, mode) as file:
            yield file
        return
    if path.is_dir():
        raise InputError(f"{path} is a directory: name a file in it.")
    _make_parents(path)
    beside = _beside(path)
    with writing(path):
        try:
            with _open(beside, path, mode.replace("w", "x")) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _take_name(beside, path)
        except BaseException:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_directory(path: str | os.PathLike[str], replace: bool = False) -> Iterator[Path]:
    """Yield a new empty directory beside `path`; it takes that name, whole, at the end.

    When the block raises, nothing remains of it; what a killed process left is removed by the next
    call for the same `path`. Raises InputError where `path` is there already and holds something:
    nothing of the user's is ever replaced. With `replace`, for what can be made again, whatever is
    at `path` is removed at the end.
    """
    path = Path(path)
    if not replace and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} is there already: name a new directory, or remove that one.")
    _make_parents(path)
    with writing(path), _directory_beside(path) as beside:
        yield beside
        for file in beside.rglob("*"):
            _sync(file)
        _sync(beside)
        if replace and os.path.lexists(path):
            _take_place(beside, path)
        else:
            _take_name(beside, path)


@contextmanager
def replaced_files(path: str | os.PathLike[str], last: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty directory; its files then take their places in the directory `path`.

    Files of the same names are replaced, those named in `last` after all others. When the block
    raises (a full disk), `path` stays as it was.
    """
    path = Path(path)
    _make_parents(path / "files")
    with writing(path, "what was there stays"), _directory_beside(path / "files") as beside:
        yield beside
        files = sorted(beside.iterdir(), key=lambda file: (file.name in last, file.name))
        for file in files:
            _sync(file)
        for file in files:
            _take_name(file, path / file.name)


@contextmanager
def lock(path: str | os.PathLike[str], busy: str | None = None) -> Iterator[None]:
    """Lock `path` for this process and thread, through the file `.NAME.lock` beside.

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
        why = f"{error.strerror or error}{unwritable_advice(path)}"
        raise InputError(f"Cannot lock {path}: {why}.") from error
    try:
        yield
    finally:
        guard.release()


def append_jsonl(file: IO[str], *rows: dict[str, Any]) -> None:
    """Write each row as one line to an open text file, and on to the disk before it returns.

    Raises VQAError where the disk takes no more, and LostFile where the file is no longer there.
    """
    with writing(file.name):
        file.write("".join(map(_line, rows)))
        file.flush()
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # a pipe or terminal
                raise
    check_in_place(file)


@contextmanager
def open_jsonl(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
    """Open `path` for `append_jsonl`; a last line that an earlier kill has torn is cut off.

    Raises InputError where the last line is no row, and none that was begun, and LostFile where
    the file is not there at the end.
    """
    path = Path(path)
    _make_parents(path)
    with writing(path), _open(path, path, "ab") as raw:
        if raw.seekable() and path.is_file():
            data = path.read_bytes()
            tail = data[data.rfind(b"\n") + 1 :]
            if _is_torn(tail):
                raw.truncate(len(data) - len(tail))
            elif tail.strip() and _row(tail) is None:
                raise InputError(f"{path} ends in what is no JSON object; name another file.")
            elif tail:
                raw.write(b"\n")
    with writing(path), _open(path, path, "a") as file:
        yield file
        check_in_place(file)


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, row). Empty lines are skipped.

    A last line without its line end that begins an object was torn by a kill and is left out; any
    other line that is no JSON object raises InputError with file and line.
    """
    path = Path(path)
    with _open(path, path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            row = _row(line)
            if row is None and _is_torn(line):
                return
            if row is None:
                raise InputError(f"{path}, line {number}: not a JSON object; correct or remove it.")
            yield number, row


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write all rows, one a line, atomically."""
    with atomic_write(path) as file:
        file.writelines(_line(row) for row in rows)


def json_text(value: object, indent: int | None = None) -> str:
    """Write JSON that any reader takes: letters as they are, lone surrogates as escapes.

    Raises VQAError for numbers that JSON does not have (NaN and infinity) and other types.
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise VQAError(f"this cannot be written as JSON: {error}") from error
    return text


def without_nan(value: object) -> object:
    """Put null, as JSON calls it, in place of every number that is not finite."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def _line(row: dict[str, Any]) -> str:
    return json_text(row) + "\n"


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _is_torn(line: bytes) -> bool:
    """Return whether a line is the beginning of an object, the rest of which was never written."""
    text = line.decode("utf-8", "replace").lstrip()
    if line.endswith(b"\n") or not text.startswith("{"):
        return False
    try:
        json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return True
    return False  # whole, whatever stands behind it


def _open_already(path: Path) -> int | None:
    """Return the descriptor of this process that a path like /dev/stdout or /dev/fd/3 leads to."""
    if not path.exists():  # links in a circle among them
        return None
    numbers = (Path("/dev/fd"), Path(f"/proc/{os.getpid()}/fd"))
    while path.parent.resolve() not in numbers:
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return int(path.name)


def _open(file: Path | int, path: Path, mode: str) -> IO[Any]:
    """Open `file`; an error speaks of `path`, the file the user knows."""
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        return open(file, mode, **text)  # type: ignore[call-overload, no-any-return]
    except OSError as error:
        verb = "read" if "r" in mode else "write"
        if "r" not in mode and disk_failure(error):
            raise  # no fault of the user's
        raise InputError(f"Cannot {verb} {path}: {error.strerror or error}.") from error


def _make_parents(path: Path) -> None:
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{error.strerror or error}{unwritable_advice(path)}"
        raise InputError(f"Cannot make {path.parent}: {why}.") from error


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.urandom(4).hex()}.tmp"


@contextmanager
def _directory_beside(path: Path) -> Iterator[Path]:
    """Yield a new empty directory; what is in its place at the end, or after a kill, is removed."""
    _remove_abandoned(path)
    beside = _beside(path)
    alive = FileLock(f"{beside}.lock")  # shows others that this directory is still being written
    try:
        with alive:
            beside.mkdir()
            yield beside
    except Exception as error:
        if not path.parent.exists():
            raise _lost(path) from error
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        Path(alive.lock_file).unlink(missing_ok=True)


def _take_name(beside: Path, path: Path) -> None:
    try:
        os.replace(beside, path)
    except OSError as error:
        if not beside.exists():
            raise _lost(path) from error
        raise VQAError(f"Cannot make {path}: {error.strerror or error}.") from error
    _sync(path.parent)


def _take_place(beside: Path, path: Path) -> None:
    """Put `beside` in the place of what is at `path`, which is removed."""
    before = _beside(path)  # the next call for `path` removes it, should this one be killed
    _take_name(path, before)
    try:
        _take_name(beside, path)
    except VQAError:
        _take_name(before, path)
        raise
    if before.is_dir() and not before.is_symlink():
        shutil.rmtree(before, ignore_errors=True)
    else:
        before.unlink(missing_ok=True)


def _lost(path: Path) -> LostFile:
    return LostFile(
        f"{path.parent} was deleted or moved while {path} was written, of which nothing is kept: "
        "the same command begins again"
    )


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
